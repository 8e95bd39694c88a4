"""Whether a weight is the one that an edit was made for: one answer, for apply, verify and export.

What an edit records of a weight is a hash over its values in one dtype.

- Where the matrix edit has a ``dtype``, that is the checkpoint's, and the hash is over its bytes. A model or checkpoint
  is the base if it holds the same values, in whatever dtype it has them. Values that become those only when they are
  rounded are others.
- Where it has none, as in older manifests, that is ``base_model.dtype``, in which the weight was loaded. A model is the
  base if it holds the same values, and a checkpoint if it gives them when it is loaded in that dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import FitError, printable
from cti_edits.models.gguf_checkpoint import GgufTensor
from cti_edits.models.identity import DTYPE_NAMES, DTYPES, is_cast_of, tensor_sha256
from cti_edits.models.stored_names import Stored

Verdict = Literal["ok", "does not fit", "cannot tell"]


@dataclass(frozen=True)
class BaseMatch:
    """The answer for one matrix.

    Attributes:
        verdict: "ok": the weight has the values that the edit was made for; "does not fit": it has others; "cannot
            tell": the edit or the weight says too little.
        why: the reason, for people.
        field: the field of the matrix edit that decided; None if none did.
    """

    verdict: Verdict
    why: str
    field: Literal["sha256", "frobenius_norm"] | None = None

    @property
    def refuses(self) -> bool:
        """Whether an edit must not be applied without an override. One that has no hash may be."""
        return self.verdict == "does not fit" or (self.verdict == "cannot tell" and self.field is not None)


@dataclass(frozen=True)
class Evidence:
    """A weight as far as it is known: in memory, in the checkpoint, or both.

    Attributes:
        memory: the tensor of the loaded model, or its part, as it is hashed (`TargetMatrix.hashed`).
        stored: the tensor of the checkpoint, or its part.
        name: the weight's name, for messages.
        unread: why ``stored`` is missing, if that is known.
        converted: whether loading the model changed the values, as with a GGUF file.
    """

    memory: torch.Tensor | None
    stored: Stored | None
    name: str
    unread: str = ""
    converted: bool = False


def base_match(one: MatrixEdit, base_dtype: str | None, evidence: Evidence) -> BaseMatch:
    """Whether a weight is the one that ``one`` was made for.

    Args:
        one: what the edit records.
        base_dtype: the dtype that the edit was made in, "float16"; None if it does not say.
        evidence: what is compared. All values of ``memory`` are finite.

    Raises:
        CheckpointError: the stored tensor cannot be read.
    """
    # The dtype that the hash is over; None: whatever dtype the weight had.
    hashed_as = getattr(torch, base_dtype) if base_dtype is not None else None
    if one.dtype is not None:
        hashed_as = DTYPES[one.dtype]
    memory, stored = evidence.memory, evidence.stored
    if stored is not None and not stored.is_weight:
        if memory is None:
            why = f"{stored.name} is stored as {printable(stored.dtype)}, which holds no plain weights"
            return BaseMatch("cannot tell", why, "sha256")
        stored = None
    norm = None
    if memory is None:
        assert stored is not None
        norm = stored.frobenius_norm()
        if not math.isfinite(norm):
            return BaseMatch("does not fit", f"{stored.name} holds NaN or infinite values")
    answer = None
    if one.sha256 is not None:
        if memory is None:
            assert stored is not None
            answer = _stored_match(one, hashed_as, stored, loaded_as=hashed_as)
        else:
            answer = _memory_match(one, hashed_as, memory, stored, evidence)
        if answer.verdict != "ok":
            return answer
    if (other := _other_norm(one, hashed_as, memory, stored, norm, evidence.name)) is not None:
        return other
    agree = "the shape agrees" if one.frobenius_norm is None else "shape and norm agree"
    return answer or BaseMatch("cannot tell", f"the edit has no sha256; {agree}")


def _memory_match(
    one: MatrixEdit,
    hashed_as: torch.dtype | None,
    memory: torch.Tensor,
    stored: Stored | None,
    evidence: Evidence,
) -> BaseMatch:
    """The answer for a loaded model, by its weight in memory and by the checkpoint's tensor, if that can be read."""
    same = BaseMatch("ok", f"{evidence.name}, {_name(memory.dtype)}", "sha256")
    compared = _compared(memory, one.sha256, hashed_as)
    # A dtype in memory that holds every value of the stored one lost nothing, so that no file needs to be read.
    if compared == "same" and (stored is None or _holds(memory.dtype, DTYPES[stored.dtype])):
        return same
    changed = ""
    if stored is not None:
        of_stored = _stored_match(one, hashed_as, stored, loaded_as=memory.dtype)
        if is_cast_of(memory, stored):
            return of_stored
        if of_stored.verdict == "ok":
            changed = "; the checkpoint has that tensor, but what is in memory is not that one, cast: it was changed"
    if compared == "same":
        return same
    wanted = memory.dtype if hashed_as is None else hashed_as
    hint = changed
    if not changed and memory.dtype != wanted:
        hint = f"; it is loaded as {str(memory.dtype)[6:]}, the edit was made for dtype={str(wanted)[6:]}"
        if compared == "rounds" or not _exact(memory, wanted):
            hint += ", which does not hold all of its values"
    why = f"expected {one.sha256}, found {tensor_sha256(memory, wanted)}{hint}"
    if not evidence.converted and (changed or (compared == "other" and _holds(memory.dtype, wanted))):
        return BaseMatch("does not fit", why, "sha256")
    if compared == "rounds" and not evidence.converted:
        return _rounded(one, why)
    return BaseMatch("cannot tell", why + (f"; {evidence.unread}" if evidence.unread else ""), "sha256")


def _stored_match(
    one: MatrixEdit, hashed_as: torch.dtype | None, stored: Stored, loaded_as: torch.dtype | None
) -> BaseMatch:
    """The answer for a checkpoint that is loaded as ``loaded_as``."""
    # Of other bytes, the values may be the same all the same.
    if one.gguf_sha256 is not None and isinstance(stored, GgufTensor) and stored.bytes_sha256() == one.gguf_sha256:
        return BaseMatch("ok", f"{stored.name}, its bytes in the GGUF file", "sha256")
    found = stored.sha256()
    if found == one.sha256:
        return BaseMatch("ok", f"{stored.name}, {stored.dtype}", "sha256")
    why = f"expected {one.sha256}, found {found}"
    if hashed_as is None or hashed_as == DTYPES[stored.dtype]:
        return BaseMatch("does not fit", why, "sha256")
    name = _name(hashed_as)
    why += f"; it is stored as {stored.dtype}, the hash is over {name}"
    compared = _compared(stored.tensor(), one.sha256, hashed_as)
    if compared == "other":
        return BaseMatch("does not fit", why, "sha256")
    if compared == "same" or (one.dtype is None and loaded_as == hashed_as):
        return BaseMatch("ok", f"{stored.name}, loaded as {name} (stored as {stored.dtype})", "sha256")
    if one.dtype is None:
        made = f"dtype={str(hashed_as)[6:]}, which does not hold all of its values"
        return BaseMatch(
            "cannot tell", f"{why}; it is loaded as {str(loaded_as)[6:]}, the edit was made for {made}", "sha256"
        )
    return _rounded(one, why + ", which does not hold all of its values")


def _rounded(one: MatrixEdit, why: str) -> BaseMatch:
    """The answer for values that become the recorded ones only when they are rounded."""
    # A model made in memory has no name of a tensor, and its checkpoint may have been wider.
    over_stored_bytes = one.dtype is not None and one.tensor is not None
    return BaseMatch("does not fit" if over_stored_bytes else "cannot tell", why, "sha256")


def _compared(
    values: torch.Tensor, sha256: str | None, dtype: torch.dtype | None
) -> Literal["same", "rounds", "other"]:
    """Whether ``values`` are those whose hash, in ``dtype``, is ``sha256``; "rounds": only after rounding to it."""
    if tensor_sha256(values, dtype) != sha256:
        return "other"
    return "same" if dtype is None or _exact(values, dtype) else "rounds"


def _exact(values: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether ``dtype`` holds these very values."""
    values = values.detach()
    return values.dtype == dtype or bool(torch.equal(values.to(dtype).to(values.dtype), values))


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether ``wide`` holds every value of ``narrow``."""
    return torch.promote_types(wide, narrow) == wide


def _other_norm(
    one: MatrixEdit,
    hashed_as: torch.dtype | None,
    memory: torch.Tensor | None,
    stored: Stored | None,
    norm: float | None,
    name: str,
) -> BaseMatch | None:
    """A refusal if ‖W‖_F is not the one that the edit records; ``norm`` is that of ``stored``, if it is known."""
    if one.frobenius_norm is None:
        return None
    if memory is not None and (stored is None or _holds(memory.dtype, DTYPES[stored.dtype])):
        norm, dtype = float(torch.linalg.vector_norm(memory.detach().cpu().double())), memory.dtype
    else:
        assert stored is not None
        norm = stored.frobenius_norm() if norm is None else norm
        name, dtype = stored.name, DTYPES[stored.dtype]
    exact = hashed_as in (None, dtype) or (one.dtype is not None and _holds(dtype, DTYPES[one.dtype]))
    # The norm of a tensor that was cast differs by its rounding.
    if math.isclose(norm, one.frobenius_norm, rel_tol=1e-6 if exact else 1e-2):
        return None
    return BaseMatch("does not fit", f"expected {one.frobenius_norm:.9g}, {name} has {norm:.9g}", "frobenius_norm")


def _name(dtype: torch.dtype) -> str:
    return DTYPE_NAMES.get(dtype, str(dtype)[6:])


def check_tensor_name(one: MatrixEdit, name: str, stored: str) -> None:
    """Refuse a matrix edit whose ``tensor``, of which its hash is, is another than its module's weight.

    Args:
        one: a matrix edit.
        name: of the module's weight in the model.
        stored: of that weight in the checkpoint, which may have one part more or less in front.

    Raises:
        FitError: it names another tensor.
    """
    # Experts have one tensor together in one checkpoint and each its own in another; the hash is the same.
    if one.tensor is None or one.tensor in (name, stored) or one.expert is not None:
        return
    if one.tensor.partition(".")[2] != name and name.partition(".")[2] != one.tensor:
        raise FitError(f"tensor: {name} is stored as {stored}, the edit names {printable(one.tensor)}")
