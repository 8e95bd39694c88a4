"""What identifies the tensor that an edit was made for, and the checkpoint that a loaded model is from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cti_edits.errors import CheckpointError, printable
from cti_edits.models.checkpoint import Checkpoint, open_checkpoint
from cti_edits.models.checkpoint_location import CheckpointLocation
from cti_edits.models.stored_tensor import TORCH_NAMES, StoredTensor
from cti_edits.models.wrappers import inner_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, torch_name) for name, torch_name in TORCH_NAMES.items()}
"""The dtypes that an edited weight can have, by the names that safetensors gives them."""

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def tensor_sha256(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> str:
    """Hash of a tensor as safetensors stores it: sha256 of "F32 [2, 3]", a line feed, and its bytes in memory order.

    Args:
        tensor: in its stored orientation.
        dtype: hash the values as this dtype; the tensor's own if None.
    """
    tensor = tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
    head = f"{DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))} {list(tensor.shape)}\n"
    digest = hashlib.sha256(head.encode())
    if tensor.numel():
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Identity:
    """Of a weight W: what a manifest's matrix edit records of it.

    Attributes:
        sha256: hash of the checkpoint's bytes, or of the tensor in memory where there are none.
        dtype: what ``sha256`` is over, as safetensors names it.
        tensor: its name in the checkpoint; None where there is none.
        frobenius_norm: ‖W‖_F, to 12 digits, so that the order of the summation does not show.
    """

    sha256: str
    dtype: str
    tensor: str | None
    frobenius_norm: float


def identity_of(parameter: torch.Tensor, name: str, checkpoint: Checkpoint | None) -> Identity:
    """The identity of a loaded weight.

    Args:
        parameter: the weight in its stored orientation, one of `DTYPE_NAMES`.
        name: of the weight in the model, "transformer.h.6.mlp.fc_out.weight".
        checkpoint: where the model was loaded from, see `checkpoint_of`. If ``parameter`` is not the tensor there, cast
            to its own dtype, it is the tensor in memory that counts.
    """
    stored = _stored(checkpoint, name)
    if stored is not None and stored.is_weight and is_cast_of(parameter, stored):
        norm = stored.frobenius_norm()
        return Identity(stored.sha256(), stored.dtype, stored.name, float(f"{norm:.12g}"))
    norm = float(torch.linalg.vector_norm(parameter.detach().double()))
    return Identity(tensor_sha256(parameter), DTYPE_NAMES[parameter.dtype], None, float(f"{norm:.12g}"))


def checkpoint_of(model: torch.nn.Module, **where: Unpack[CheckpointLocation]) -> Checkpoint | None:
    """Where a transformers model was loaded from, as far as this machine has it; None if that is not known.

    Args:
        model: whose ``config`` knows the folder or the hub id; what wraps it does not matter.
        where: see `source_checkpoint`.
    """
    try:
        return source_checkpoint(model, **where)
    except CheckpointError:
        return None


def source_checkpoint(model: torch.nn.Module, **where: Unpack[CheckpointLocation]) -> Checkpoint | None:
    """As `checkpoint_of`; None where the model does not say what it was loaded from.

    Args:
        model: whose ``config`` knows the folder or the hub id.
        where: the further arguments that it was loaded with. Older transformers note the commit themselves.

    Raises:
        CheckpointError: that is not a checkpoint on this machine, or has no safetensors files that were loaded.
    """
    config = getattr(inner_model(model), "config", None)
    place = getattr(config, "_name_or_path", None)
    if where.get("gguf_file"):
        raise CheckpointError(
            f"{printable(where['gguf_file'])} is a GGUF file, whose weights were converted when they were loaded"
        )
    if where.get("use_safetensors") is False:
        raise CheckpointError("it was loaded with use_safetensors=false, from files that are not read here")
    if not isinstance(place, str) or not place:
        return None
    return open_checkpoint(
        place,
        getattr(config, "_commit_hash", None) or where.get("revision"),
        local=True,
        subfolder=where.get("subfolder") or "",
        variant=where.get("variant"),
        cache_dir=where.get("cache_dir"),
    )


def _stored(checkpoint: Checkpoint | None, name: str) -> StoredTensor | None:
    try:
        return checkpoint.find(name) if checkpoint else None
    except CheckpointError:
        return None


def is_cast_of(parameter: torch.Tensor, stored: StoredTensor) -> bool:
    """Whether ``parameter`` has the very bits of the stored tensor in its own dtype."""
    return stored.shape == tuple(parameter.shape) and tensor_sha256(stored.tensor(), parameter.dtype) == tensor_sha256(
        parameter
    )
