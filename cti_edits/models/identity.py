"""What identifies the tensor that an edit was made for, and whether a loaded model has that tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from cti_edits.errors import CheckpointError
from cti_edits.models.checkpoint import BYTES, Checkpoint, StoredTensor, open_checkpoint

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
"""Names of dtypes as safetensors writes them."""

DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


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
    if stored is not None and stored.dtype in BYTES and _is_cast_of(parameter, stored):
        norm = stored.frobenius_norm()
        return Identity(stored.sha256(), stored.dtype, stored.name, float(f"{norm:.12g}"))
    norm = float(torch.linalg.vector_norm(parameter.detach().double()))
    return Identity(tensor_sha256(parameter), DTYPE_NAMES[parameter.dtype], None, float(f"{norm:.12g}"))


def checkpoint_of(model: torch.nn.Module, revision: str | None = None) -> Checkpoint | None:
    """Where a transformers model was loaded from, as far as this machine has it; None if that is not known.

    Args:
        model: whose ``config`` knows the folder or the hub id.
        revision: that it was loaded from; its main branch if None. Older transformers note the commit themselves.
    """
    config = getattr(model, "config", None)
    place = getattr(config, "_name_or_path", None)
    if not isinstance(place, str) or not place:
        return None
    try:
        return open_checkpoint(place, getattr(config, "_commit_hash", None) or revision, local=True)
    except CheckpointError:
        return None


def difference(
    parameter: torch.Tensor,
    name: str,
    sha256: str,
    dtype: str | None,
    base_dtype: str | None,
    checkpoint: Callable[[], Checkpoint | None],
) -> str | None:
    """How a loaded weight differs from the tensor that an edit was made for, for a message; None if it does not.

    The tensor in memory is what will be edited, so it is compared wherever it can hold the stored values: in the stored
    dtype, or in a wider one that holds no others. Loaded in a narrower dtype it says nothing of the rest; then the
    checkpoint's bytes are hashed, and what is in memory has to be those, cast.

    Args:
        parameter: the weight in its stored orientation.
        name: of the weight in the checkpoint.
        sha256: the hash that the edit records.
        dtype: what that is over, "F16"; None: ``base_dtype``.
        base_dtype: the dtype that the edit was made in, "float16"; None: that of ``parameter``.
        checkpoint: gives the place that the model was loaded from; asked if need be only.
    """
    recorded = parameter.dtype
    if dtype is not None or base_dtype is not None:
        recorded = DTYPES[dtype] if dtype is not None else getattr(torch, str(base_dtype))
    found = tensor_sha256(parameter, recorded)
    # A wider tensor has to hold the narrower one's very values, or another base could pass by rounding to it.
    same = parameter.dtype == recorded or bool(
        torch.equal(parameter.detach().to(recorded).to(parameter.dtype), parameter.detach())
    )
    if found == sha256 and same:
        return None
    changed = ""
    stored = _stored(checkpoint(), name)
    if stored is not None and stored.dtype in BYTES and stored.dtype != DTYPE_NAMES.get(parameter.dtype):
        found = stored.sha256()
        if found == sha256:
            if _is_cast_of(parameter, stored):
                return None
            changed = "; the checkpoint has that tensor, but what is in memory is not that one, cast: it was changed"
    hint = changed
    if not changed and parameter.dtype != recorded:
        hint = f"; it is loaded as {str(parameter.dtype)[6:]}, the edit was made for dtype={str(recorded)[6:]}" + (
            "" if same else ", which does not hold all of its values"
        )
    return f"expected {sha256}, found {found}{hint}"


def _stored(checkpoint: Checkpoint | None, name: str) -> StoredTensor | None:
    try:
        return checkpoint.find(name) if checkpoint else None
    except CheckpointError:
        return None


def _is_cast_of(parameter: torch.Tensor, stored: StoredTensor) -> bool:
    """Whether ``parameter`` has the very bits of the stored tensor in its own dtype."""
    return stored.shape == tuple(parameter.shape) and tensor_sha256(stored.tensor(), parameter.dtype) == tensor_sha256(
        parameter
    )
