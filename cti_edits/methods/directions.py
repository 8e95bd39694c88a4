"""The method ``directions``: some singular values of W become s_i σ_i, and the singular vectors stay.

Ŵ_k = W_k + Σ_i (s_i − 1) σ_i u_i v_iᵀ, of each row block k. The difference Ŵ − W has no more ranks than the edit has
directions, so that it is a LoRA adapter by construction. Arguments and errors are those of `method.Method`.
What needs torch imports it, so that the size of an edit is told without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cti_edits.artifact.matrix_edits import DirectionsEdit, MatrixEdit
from cti_edits.artifact.ranks import row_block_size, row_block_sizes
from cti_edits.errors import EditError, FitError
from cti_edits.methods.method import BlockForm, expected_kind

if TYPE_CHECKING:
    import torch

    from cti_edits.linalg.factors import LowRank
    from cti_edits.methods.added_low_rank import AddedLowRank
    from cti_edits.methods.method import Packed

NAME = DirectionsEdit.METHOD


def edited_weight(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> torch.Tensor:
    """Ŵ (m, n) in the dtype of ``weight``; of ``packed`` on the CPU."""
    import torch

    from cti_edits.linalg.directions import with_difference
    from cti_edits.linalg.lowrank import row_blocks

    one = expected_kind(matrix_edit, DirectionsEdit)
    blocks = row_blocks(weight.detach(), one.clusters)
    if packed is None:
        added = _differences(blocks, one)
        edited = torch.cat(
            [block if low is None else with_difference(block, low) for block, low in zip(blocks, added, strict=True)]
        )
    else:
        edited = torch.cat(
            [
                block.cpu() if low is None else _with_packed(block.cpu(), low)
                for block, low in zip(blocks, _low_ranks(packed), strict=True)
            ]
        )
    _check_finite(edited)
    return edited


def kept_parameters(matrix_edit: MatrixEdit) -> int:
    """Numbers of W and of the factors beside it, or those of Ŵ alone if the factors have no fewer than it."""
    one = expected_kind(matrix_edit, DirectionsEdit)
    rows, columns = one.shape
    beside = sum(
        count * (row_block_size(rows, one.clusters, block) + columns)
        for block, count in Counter(block for block, _ in one.directions).items()
    )
    return rows * columns + (beside if beside < rows * columns else 0)


def runs_as_factors(matrix_edit: MatrixEdit) -> bool:
    """Whether the factors of Ŵ − W have fewer numbers than a second dense matrix, and W is of a layer's weight."""
    if matrix_edit.expert is not None or matrix_edit.parameter is not None:
        return False
    rows, columns = matrix_edit.shape
    return kept_parameters(matrix_edit) > rows * columns


def block_forms(matrix_edit: MatrixEdit) -> Sequence[BlockForm]:
    """For each row block the rank of Ŵ_k − W_k; a block without directions keeps the base's bits."""
    one = expected_kind(matrix_edit, DirectionsEdit)
    counts = [0] * one.clusters
    for block, _ in one.directions:
        counts[block] += 1
    sizes = row_block_sizes(one.shape[0], one.clusters)
    return [BlockForm(size, count or None, unchanged=not count) for size, count in zip(sizes, counts, strict=True)]


def factors(weight: torch.Tensor, matrix_edit: MatrixEdit) -> Packed:
    """The factors of Ŵ_k − W_k, float32 or float64 as the weight; None for a block without directions."""
    import torch

    from cti_edits.linalg.factors import LowRank
    from cti_edits.linalg.lowrank import row_blocks

    one = expected_kind(matrix_edit, DirectionsEdit)
    kept = torch.float64 if weight.dtype == torch.float64 else torch.float32
    return [
        None if low is None else LowRank(low.left.to(kept).contiguous(), low.right.to(kept).contiguous())
        for low in _differences(row_blocks(weight.detach(), one.clusters), one)
    ]


def factored_layer(
    weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
) -> AddedLowRank:
    """A layer that takes the place of ``layer`` and adds the factors' product to what its weight gives."""
    from cti_edits.methods.added_low_rank import AddedLowRank

    blocks = _low_ranks(factors(weight, matrix_edit) if packed is None else packed)
    made = AddedLowRank(layer, blocks, row_block_sizes(matrix_edit.shape[0], len(blocks)), matrix_edit.rows)
    for parameter in (made.right, *made.lefts):
        _check_finite(parameter)
    return made


def _check_finite(made: torch.Tensor) -> None:
    from cti_edits.linalg.finite import all_finite

    if not all_finite(made):
        dtype = str(made.dtype).removeprefix("torch.")
        raise FitError(f"scale: the factors are so large that the edited weight is beyond what {dtype} holds")


def _differences(blocks: Sequence[torch.Tensor], one: DirectionsEdit) -> list[LowRank | None]:
    from cti_edits.linalg.directions import Directions, difference

    found: list[LowRank | None] = []
    for number, block in enumerate(blocks):
        index, scale, sigma = one.of_block(number)
        if not index:
            found.append(None)
            continue
        try:
            found.append(difference(block, Directions(index, scale, sigma)))
        except EditError as error:
            raise FitError(f"row block {number}: {error}" if len(blocks) > 1 else str(error)) from None
    return found


def _with_packed(block: torch.Tensor, low: LowRank) -> torch.Tensor:
    """``block`` plus the product, with the same bits on every machine."""
    import torch

    from cti_edits.linalg.directions import summed
    from cti_edits.linalg.factors import reproducible_product

    edited = summed(block, reproducible_product(low.left, low.right))
    # By way of float32, as in `factors.weight_of_blocks`.
    half = block.dtype in (torch.float16, torch.bfloat16)
    return (edited.float() if half else edited).to(block.dtype)


def _low_ranks(packed: Packed) -> list[LowRank | None]:
    """The blocks of a file, none of which is dense: `block_forms` has no such form."""
    from cti_edits.linalg.factors import LowRank

    found: list[LowRank | None] = []
    for block in packed:
        assert block is None or isinstance(block, LowRank)
        found.append(block)
    return found
