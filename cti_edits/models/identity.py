"""The hash and norm that identify a weight, and the checkpoint that a loaded model is from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cti_edits.errors import CheckpointError, FitError
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.checkpoint_location import CheckpointLocation
from cti_edits.models.gguf_checkpoint import GgufCheckpoint, GgufTensor, open_gguf
from cti_edits.models.stored_names import AnyCheckpoint, Stored, find_stored
from cti_edits.models.stored_tensor import TORCH_NAMES
from cti_edits.models.targets import TargetMatrix
from cti_edits.models.wrappers import inner_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, torch_name) for name, torch_name in TORCH_NAMES.items()}
"""The dtypes that an edited weight can have, by the names that safetensors gives them."""

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def tensor_sha256(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> str:
    """Hash of a tensor as safetensors stores it: sha256 of "F32 [2, 3]", a line feed, and its bytes in row-major order.

    Args:
        tensor: in its stored orientation.
        dtype: the dtype to which the values are converted first; the tensor's own if None.
    """
    tensor = tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
    head = f"{DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))} {list(tensor.shape)}\n"
    digest = hashlib.sha256(head.encode())
    if tensor.numel():
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Identity:
    """What a matrix edit records of its weight W, so that it can be recognized.

    Attributes:
        sha256: `tensor_sha256` of the checkpoint's tensor, or of that in memory if there is no checkpoint.
        dtype: of the tensor that was hashed, as safetensors names it.
        tensor: its name in the checkpoint; None if there is no checkpoint.
        frobenius_norm: ‖W‖_F, to 12 digits, so that it does not depend on the order of the summation.
        gguf_sha256: hash of the bytes of the tensor in a GGUF file, if that is where W is from.
    """

    sha256: str
    dtype: str
    tensor: str | None
    frobenius_norm: float
    gguf_sha256: str | None = None


def identity_of(target: TargetMatrix, checkpoint: AnyCheckpoint | None) -> Identity:
    """The identity of a loaded weight.

    Args:
        target: the weight, of one of the dtypes `DTYPES`.
        checkpoint: where the model was loaded from, see `checkpoint_of`. Its tensor is the one that is identified, if
            ``target`` is that cast to another dtype or the same; otherwise ``target`` is.

    Raises:
        CheckpointError: the checkpoint's tensor was found but cannot be read.
    """
    stored, loaded = _stored(checkpoint, target), target.hashed
    if stored is not None and stored.is_weight and is_cast_of(loaded, stored):
        norm = stored.frobenius_norm()
        of_bytes = stored.bytes_sha256() if isinstance(stored, GgufTensor) else None
        return Identity(stored.sha256(), stored.dtype, stored.name, float(f"{norm:.12g}"), of_bytes)
    norm = float(torch.linalg.vector_norm(loaded.detach().double()))
    return Identity(tensor_sha256(loaded), DTYPE_NAMES[loaded.dtype], None, float(f"{norm:.12g}"))


def checkpoint_of(model: torch.nn.Module, **where: Unpack[CheckpointLocation]) -> AnyCheckpoint | None:
    """The checkpoint that a model was loaded from, if it is known and on this machine; else None.

    Arguments are those of `source_checkpoint`.
    """
    try:
        return source_checkpoint(model, **where)
    except CheckpointError:
        return None


def source_checkpoint(model: torch.nn.Module, **where: Unpack[CheckpointLocation]) -> AnyCheckpoint | None:
    """The checkpoint that a model was loaded from; None if its config does not say.

    Args:
        model: a transformers model, or a wrapper of one. Its ``config`` has the folder or hub id, and with older
            transformers the commit.
        where: the other arguments of ``from_pretrained`` that it was loaded with.

    Raises:
        CheckpointError: there is no such checkpoint on this machine, or the model was loaded from neither safetensors
        files nor a GGUF file.
    """
    config = getattr(inner_model(model), "config", None)
    place = getattr(config, "_name_or_path", None)
    if where.get("use_safetensors") is False:
        raise CheckpointError("it was loaded with use_safetensors=false, from files that are not read here")
    if not isinstance(place, str) or not place:
        return None
    if gguf_file := where.get("gguf_file"):
        # As transformers looks for it.
        if Path(gguf_file).is_file():
            return GgufCheckpoint(Path(gguf_file))
        return open_gguf(
            place,
            gguf_file,
            getattr(config, "_commit_hash", None) or where.get("revision"),
            local=True,
            subfolder=where.get("subfolder") or "",
            cache_dir=where.get("cache_dir"),
        )
    return open_checkpoint(
        place,
        getattr(config, "_commit_hash", None) or where.get("revision"),
        local=True,
        subfolder=where.get("subfolder") or "",
        variant=where.get("variant"),
        cache_dir=where.get("cache_dir"),
    )


def _stored(checkpoint: AnyCheckpoint | None, target: TargetMatrix) -> Stored | None:
    try:
        return find_stored(checkpoint, target) if checkpoint else None
    except (CheckpointError, FitError):
        return None


def is_cast_of(parameter: torch.Tensor, stored: Stored) -> bool:
    """Whether ``parameter`` has the bits of the stored tensor, or of the part of one, cast to its own dtype.

    Raises:
        CheckpointError: the stored tensor cannot be read.
    """
    return stored.shape == tuple(parameter.shape) and tensor_sha256(stored.tensor(), parameter.dtype) == tensor_sha256(
        parameter
    )
