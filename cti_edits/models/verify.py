"""Whether a checkpoint is the base that an edit was made for, by the edited tensors alone. No model is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import CheckpointError, EditError, FactorsError, FitError, printable
from cti_edits.models.apply import find_target
from cti_edits.models.architectures import check_architecture, family_of
from cti_edits.models.base_match import Evidence, Verdict, base_match, check_tensor_name
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.checkpoint_location import edit_gguf_file, edit_subfolder
from cti_edits.models.config_model import model_of_config
from cti_edits.models.factor_file import read_factors
from cti_edits.models.gguf_checkpoint import ENDING, GgufCheckpoint, open_gguf
from cti_edits.models.quantization import quantized_checkpoint
from cti_edits.models.stored_names import AnyCheckpoint, Stored, find_stored


def base_checkpoint(
    edit: Edit, model: str | None, revision: str | None, local: bool = False, subfolder: str | None = None
) -> AnyCheckpoint:
    """The checkpoint of ``model``, or of the edit's base if that is None.

    Args:
        edit: the edit. Its revision, subfolder and GGUF file are the defaults if the checkpoint is its own base's.
        model: folder, GGUF file or hub id.
        revision: of the model on the hub.
        local: use the hub's cache on this machine and no network.
        subfolder: of the model, where config and weights are.

    Raises:
        CheckpointError: see `checkpoint.open_checkpoint` and `gguf_checkpoint.open_gguf`.
    """
    base = edit.base_model
    place = base.id if model is None else model
    gguf_file = None
    if place == base.id:
        revision = revision or base.revision
        subfolder = edit_subfolder(edit) if subfolder is None else subfolder
        gguf_file = edit_gguf_file(edit)
    if gguf_file is not None:
        return open_gguf(place, gguf_file, revision, local, subfolder or "")
    if place.endswith(ENDING) and Path(place).is_file():
        return GgufCheckpoint(Path(place))
    return open_checkpoint(place, revision, local, subfolder or "")


@dataclass(frozen=True)
class TensorCheck:
    """The verdict on one matrix edit, and the reason for it in words."""

    matrix_edit: MatrixEdit
    verdict: Verdict
    why: str


def verify(edit: Edit, checkpoint: AnyCheckpoint) -> Iterator[TensorCheck]:
    """A finding for each matrix edit, in order. One tensor is in memory at a time."""
    broken = None
    try:
        read_factors(edit)
    except FactorsError as error:
        broken = str(error)
    for one in edit.edits:
        if broken is not None and one.factors is not None:
            yield TensorCheck(one, "does not fit", broken)
        else:
            yield check_tensor(edit, one, checkpoint)


def check_tensor(edit: Edit, one: MatrixEdit, checkpoint: AnyCheckpoint) -> TensorCheck:
    """The finding for one matrix edit, from name, shape, dtype, norm and hash of the stored tensor."""
    try:
        stored, _ = stored_matrix(edit, one, checkpoint)
        if not stored.is_weight and (quantized := _quantized(checkpoint)):
            return TensorCheck(one, "cannot tell", f"tensor: {stored.name} is stored as {stored.dtype}{quantized}")
        found = base_match(one, edit.base_model.dtype, Evidence(None, stored, stored.name))
    except FitError as error:
        return TensorCheck(one, "does not fit", str(error))
    except EditError as error:
        return TensorCheck(one, "cannot tell", str(error))
    if found.verdict == "ok" or found.field is None:
        return TensorCheck(one, found.verdict, found.why)
    where = f"{found.field}: " if found.field == "frobenius_norm" else f"{found.field}: {stored.name}: "
    return TensorCheck(one, found.verdict, where + found.why)


def exit_code(findings: list[TensorCheck]) -> int:
    """That of ``cti-edits verify``: 1 if a verdict is "does not fit", else 2 if one is "cannot tell", else 0."""
    verdicts = {finding.verdict for finding in findings}
    return 1 if "does not fit" in verdicts else 2 if "cannot tell" in verdicts else 0


def stored_matrix(edit: Edit, one: MatrixEdit, checkpoint: AnyCheckpoint) -> tuple[Stored, bool]:
    """The tensor in the checkpoint that ``one`` changes, or its part, and whether it has input features as rows.

    Raises:
        FitError: architecture, module or shape differ, or there is no such tensor.
        CheckpointError: the checkpoint cannot be read, or does not say what model it is of.
    """
    place, config = printable(checkpoint.place), checkpoint.config
    check_architecture(edit.base_model.architecture, config.architectures, place)
    if config.model_type is None:
        raise CheckpointError(f"{place}: has no config.json with a model_type")
    try:
        family = family_of(config.model_type)
    except FitError as error:
        raise CheckpointError(str(error)) from None
    expected = dict(
        zip(family.module_names(one.matrix, one.layer, one.stack), family.places(one.matrix, one.stack), strict=True)
    )
    if one.module not in expected:
        names = " or ".join(dict.fromkeys(expected))
        raise FitError(f"module: {one.id} is {names} here, the edit names {one.module}")
    name = f"{one.module}.{one.parameter or 'weight'}"
    transposed = expected[one.module].weight_rows == "inputs"
    if one.is_part:
        stored: Stored | None = _stored_part(edit, one, checkpoint)
        transposed = False
    else:
        stored = checkpoint.find(name) or _stored_part(edit, one, checkpoint)
    if stored is None:
        raise FitError(f"tensor: {place} has no {one.tensor or name}{_quantized(checkpoint)}")
    check_tensor_name(one, name, stored.name)
    shape = stored.shape[::-1] if transposed else stored.shape
    if shape != one.shape:
        quantized = "" if stored.is_weight else _quantized(checkpoint)
        said = f"the edit is for {list(one.shape)} (rows, columns), {stored.name} has {list(shape)}"
        raise FitError(f"shape: {said}{quantized}")
    return stored, transposed


def _quantized(checkpoint: AnyCheckpoint) -> str:
    """The end of a message on a tensor that is not as it should be."""
    found = quantized_checkpoint(checkpoint.config.quant_method)
    return f"; {found}" if found else ""


def _stored_part(edit: Edit, one: MatrixEdit, checkpoint: AnyCheckpoint) -> Stored | None:
    """The part of a tensor that ``one`` changes: of which rows and experts it is, the model of the config says."""
    try:
        target = find_target(one, model_of_config(edit.base_model.architecture, checkpoint), "")
    except FitError as error:
        raise FitError(str(error).removeprefix(".")) from None
    return find_stored(checkpoint, target)
