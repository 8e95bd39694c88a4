"""Whether a checkpoint is the base that an edit was made for: reads the tensors concerned and loads no model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cti_edits.artifact.manifest import Edit, MatrixEdit
from cti_edits.errors import CheckpointError, EditError, FactorsError, FitError, printable
from cti_edits.models.architectures import family_of
from cti_edits.models.checkpoint import BYTES, Checkpoint, StoredTensor, open_checkpoint
from cti_edits.models.factor_file import read_factors

Verdict = Literal["ok", "does not fit", "cannot tell"]

EXIT_CODES: dict[Verdict, int] = {"ok": 0, "does not fit": 1, "cannot tell": 2}


def base_checkpoint(edit: Edit, model: str | None, revision: str | None, local: bool = False) -> Checkpoint:
    """The checkpoint of ``model``, or of the edit's base if that is None.

    Raises:
        CheckpointError: see `checkpoint.open_checkpoint`.
    """
    base = edit.base_model
    if model is None:
        return open_checkpoint(base.id, revision or base.revision, local)
    return open_checkpoint(model, revision or (base.revision if model == base.id else None), local)


@dataclass(frozen=True)
class Finding:
    """About one matrix edit: a verdict, and what it rests on in words."""

    matrix_edit: MatrixEdit
    verdict: Verdict
    why: str


def verify(edit: Edit, checkpoint: Checkpoint) -> Iterator[Finding]:
    """A finding for each matrix edit, in order. Tensor by tensor, so that one is in memory at a time."""
    broken = None
    try:
        read_factors(edit)
    except FactorsError as error:
        broken = str(error)
    for one in edit.edits:
        if broken is not None and one.factors is not None:
            yield Finding(one, "does not fit", broken)
        else:
            yield examine(edit, one, checkpoint)


def examine(edit: Edit, one: MatrixEdit, checkpoint: Checkpoint) -> Finding:
    """The finding for one matrix edit, by name, shape, dtype, norm and hash of the stored tensor."""
    try:
        stored, _ = stored_matrix(edit, one, checkpoint)
        return Finding(one, *_compared(edit, one, stored))
    except FitError as error:
        return Finding(one, "does not fit", str(error))
    except EditError as error:
        return Finding(one, "cannot tell", str(error))


def exit_code(findings: list[Finding]) -> int:
    """1 if any does not fit, else 2 if any cannot be told, else 0."""
    verdicts = {finding.verdict for finding in findings}
    return 1 if "does not fit" in verdicts else max((EXIT_CODES[verdict] for verdict in verdicts), default=0)


def stored_matrix(edit: Edit, one: MatrixEdit, checkpoint: Checkpoint) -> tuple[StoredTensor, bool]:
    """The tensor in the checkpoint that ``one`` is of, and whether it is stored with rows = input features.

    Raises:
        FitError: architecture, module or shape differ, or there is no such tensor.
        CheckpointError: the checkpoint cannot be read, or does not say what model it is of.
    """
    config = checkpoint.config
    classes = config.get("architectures")
    if isinstance(classes, list) and classes and isinstance(classes[0], str):
        found, wanted = _stem(classes[0]), _stem(edit.base_model.architecture)
        if found != wanted:
            raise FitError(
                f"base_model.architecture: the edit is for {edit.base_model.architecture}, "
                f"the checkpoint is of {printable(classes[0])}"
            )
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise CheckpointError(f"{printable(checkpoint.place)}: has no config.json with a model_type")
    try:
        family = family_of(model_type)
    except FitError as error:
        raise CheckpointError(str(error)) from None
    expected = family.module_name(one.matrix, one.layer)
    if expected != one.module:
        raise FitError(f"module: {one.matrix} of layer {one.layer} is {expected} here, the edit names {one.module}")
    name = one.tensor or f"{one.module}.weight"
    stored = checkpoint.find(name)
    if stored is None:
        raise FitError(f"tensor: {printable(checkpoint.place)} has no {name}")
    transposed = family.weight_rows == "inputs"
    shape = stored.shape[::-1] if transposed else stored.shape
    if shape != one.shape:
        raise FitError(f"shape: the edit is for {list(one.shape)} (rows, columns), {stored.name} has {list(shape)}")
    return stored, transposed


def _compared(edit: Edit, one: MatrixEdit, stored: StoredTensor) -> tuple[Verdict, str]:
    from cti_edits.models.identity import DTYPE_NAMES, DTYPES, tensor_sha256

    if stored.dtype not in BYTES:
        return "cannot tell", f"{stored.name} is stored as {printable(stored.dtype)}, which holds no plain weights"
    names = {str(dtype).removeprefix("torch."): name for dtype, name in DTYPE_NAMES.items()}
    recorded = one.dtype or names.get(edit.base_model.dtype or "", stored.dtype)
    norm = stored.frobenius_norm()
    if not math.isfinite(norm):
        return "does not fit", f"{stored.name} holds NaN or infinite values"
    # The norm of a tensor that was cast differs by its rounding.
    tolerance = 1e-6 if stored.dtype == recorded else 1e-2
    if one.frobenius_norm is not None and not math.isclose(norm, one.frobenius_norm, rel_tol=tolerance):
        return "does not fit", f"frobenius_norm: expected {one.frobenius_norm:.9g}, {stored.name} has {norm:.9g}"
    if one.sha256 is None:
        agree = "shape and norm agree" if one.frobenius_norm is not None else "the shape agrees"
        return "cannot tell", f"the edit has no sha256; {agree}"
    found = stored.sha256()
    if found == one.sha256:
        return "ok", f"{stored.name}, {stored.dtype}"
    if stored.dtype != recorded and tensor_sha256(stored.tensor(), DTYPES[recorded]) == one.sha256:
        return "ok", f"{stored.name}, loaded as {recorded} (stored as {stored.dtype})"
    hint = "" if stored.dtype == recorded else f"; it is stored as {stored.dtype}, the hash is over {recorded}"
    return "does not fit", f"sha256: {stored.name}: expected {one.sha256}, found {found}{hint}"


def _stem(architecture: str) -> str:
    """``Bert`` of BertForPreTraining and of BertForMaskedLM, which is what a checkpoint of the first is loaded as."""
    return re.split(r"For[A-Z]|LMHead|DoubleHeads|Model$", architecture, maxsplit=1)[0]
