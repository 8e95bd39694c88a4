"""Under which name, and as which part of a tensor, a checkpoint stores a matrix of a loaded model.

Transformers may load a parameter from tensors of other names: a model's experts are one parameter of three axes, and in
most checkpoints each has a tensor of its own. What it loads from what, is asked of its own conversion: a parameter
whose numbers say which row they are in is converted to what would be saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch

from cti_edits.artifact.rows import Rows
from cti_edits.errors import FitError
from cti_edits.models.checkpoint import Checkpoint
from cti_edits.models.stored_part import StoredPart
from cti_edits.models.stored_tensor import StoredTensor
from cti_edits.models.targets import TargetMatrix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Stored = StoredTensor | StoredPart


def find_stored(checkpoint: Checkpoint, target: TargetMatrix) -> Stored | None:
    """The tensor of ``checkpoint`` that ``target`` is, or the part of one; None if there is none.

    Args:
        checkpoint: of the model.
        target: a matrix of it; the model may be on the meta device.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FitError: it stores the parameter in another shape.
    """
    found = checkpoint.find(target.name)
    if found is None:
        return _converted(checkpoint, target)
    if not target.is_part:
        return found
    part = StoredPart(found, target.expert or 0, target.experts, target.transposed, target.rows)
    if found.shape != tuple(target.parameter.shape):
        raise FitError(
            f"shape: expected {found.name} as {list(target.parameter.shape)}, "
            f"{checkpoint.place} stores {list(found.shape)}"
        )
    return part


def _converted(checkpoint: Checkpoint, target: TargetMatrix) -> Stored | None:
    """The tensor, or part of one, that transformers would save the matrix to."""
    for name, numbers in _saved(target).items():
        place = _place(numbers, _numbers_of(target))
        stored = checkpoint.find(name) if place is not None else None
        if stored is None or place is None:
            continue
        piece, pieces, transposed, rows = place
        part = StoredPart(stored, piece, pieces, transposed, rows)
        if not target.is_part and rows is None:
            return stored if pieces == 1 and transposed == target.transposed else None
        shape = tuple(target.weight.shape)
        if not part.fits or part.shape != shape:
            raise FitError(f"shape: {stored.name} has {list(stored.shape)}, no part of which is {list(shape)}")
        return part
    return None


def _saved(target: TargetMatrix) -> Mapping[str, torch.Tensor]:
    """From each tensor that the parameter is saved to, to which of its rows are where.

    Rows are the output features of every expert, numbered through. Input features are left out but for one.
    """
    if target.model is None:
        return {}
    experts, outputs = target.experts, target.outputs
    rows = torch.arange(experts * outputs)
    numbered = rows.view(experts, 1, outputs) if target.transposed else rows.view(experts, outputs, 1)
    numbered = numbered if target.parameter.ndim == 3 else numbered.flatten(0, 1)
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:
        return {}
    model = cast("PreTrainedModel", target.model)
    # With the other matrices beside it, which a checkpoint may keep in one tensor with it; then alone. A conversion
    # that needs more, or other shapes, is none that moves rows alone.
    for others in (_others_beside(target), {}):
        with contextlib.suppress(Exception):
            found: dict[str, torch.Tensor] = revert_weight_conversion(model, {**others, target.name: numbered})
            saved = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
            if target.name not in saved:
                return saved
    return {}


def _others_beside(target: TargetMatrix) -> dict[str, torch.Tensor]:
    """The other weights beside a matrix, their rows numbered −1, with one input feature each."""
    beside = target.module.rpartition(".")[0]
    module = cast("torch.nn.Module", target.model).get_submodule(beside)
    return {
        f"{beside}.{name}": torch.full((len(one), 1), -1)
        for name, one in module.named_parameters()
        if one.ndim == 2 and f"{beside}.{name}" != target.name
    }


def _numbers_of(target: TargetMatrix) -> list[int]:
    """The numbers of the matrix's rows; see `_saved`."""
    outputs = target.outputs
    first = (target.expert or 0) * outputs
    return [first + row for row in (range(outputs) if target.rows is None else target.rows)]


def _place(numbers: torch.Tensor, wanted: list[int]) -> tuple[int, int, bool, Rows | None] | None:
    """Piece, pieces, orientation and rows at which a saved tensor has the wanted rows; None if it has not all of them.

    Args:
        numbers: of the rows, where the tensor has them.
        wanted: those of a matrix.
    """
    pieces = len(numbers) if numbers.ndim == 3 else 1
    stacked = numbers if numbers.ndim == 3 else numbers[None]
    if stacked.ndim != 3:
        return None
    hits = (stacked == wanted[0]).nonzero()
    if len(hits) != 1:
        return None
    piece = stacked[int(hits[0, 0])]
    transposed = piece.shape[0] == 1 and piece.shape[1] > 1
    found = piece.flatten().tolist()
    places = {number: place for place, number in enumerate(found)}
    rows = [places.get(number, -1) for number in wanted]
    run = _regular(rows)
    if run is None:
        return None
    return int(hits[0, 0]), pieces, transposed, None if len(rows) == len(found) and run == Rows(0, len(found)) else run


def _regular(rows: list[int]) -> Rows | None:
    """Ascending row numbers as `Rows`; None if they are no runs of one length at one distance."""
    if rows[0] < 0:
        return None
    size = next((n for n in range(1, len(rows)) if rows[n] != rows[n - 1] + 1), len(rows))
    count, rest = divmod(len(rows), size)
    if rest:
        return None
    found = Rows.repeated(rows[0], rows[0] + size, step=rows[size] - rows[0] if count > 1 else 0, count=count)
    return found if list(found) == rows else None
