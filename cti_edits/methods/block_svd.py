"""The method ``block-svd``: each row block W_k keeps its j_k largest singular values (the paper's section 3.2).

Ŵ_k = Σ_{i ≤ j_k} σ_i u_i v_iᵀ. Arguments and errors of the functions are those of `method.Method`.
What needs torch imports it, so that the size of an edit is told without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cti_edits.artifact import ranks
from cti_edits.artifact.matrix_edits import BlockSvdEdit, MatrixEdit
from cti_edits.artifact.ranks import full_ranks, partition_rows
from cti_edits.methods.method import BlockForm, expected_kind

if TYPE_CHECKING:
    import torch

    from cti_edits.linalg.factors import Block
    from cti_edits.methods.factored_linear import FactoredLinear
    from cti_edits.methods.method import Packed

NAME = BlockSvdEdit.METHOD


def edited_weight(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> torch.Tensor:
    """Ŵ (m, n) in the dtype of ``weight``; of ``packed`` on the CPU."""
    from cti_edits.linalg.factors import weight_of_blocks
    from cti_edits.linalg.lowrank import truncate

    one = expected_kind(matrix_edit, BlockSvdEdit)
    if packed is None:
        return truncate(weight, one.block_ranks, partition=one.partition)
    return weight_of_blocks(_with_base_rows(packed, weight, one), one.shape[0], weight.dtype, one.partition)


def kept_parameters(matrix_edit: MatrixEdit) -> int:
    """Numbers of the factors, or of the dense block where those have no fewer."""
    one = expected_kind(matrix_edit, BlockSvdEdit)
    return ranks.kept_parameters(one.shape, one.block_ranks, one.partition)


def runs_as_factors(matrix_edit: MatrixEdit) -> bool:
    """Whether the factors have fewer numbers than the matrix, which is the whole weight of a layer."""
    if matrix_edit.is_part:
        return False
    rows, columns = matrix_edit.shape
    return kept_parameters(matrix_edit) < rows * columns


def block_forms(matrix_edit: MatrixEdit) -> Sequence[BlockForm]:
    """For each block its rank, no rank where it is dense; one that keeps all of its ranks has the base's bits."""
    from cti_edits.linalg.factors import is_smaller

    one = expected_kind(matrix_edit, BlockSvdEdit)
    rows, columns = one.shape
    sizes = [len(block) for block in partition_rows(rows, one.clusters, one.partition)]
    full = full_ranks(one.shape, one.clusters, one.partition)
    return [
        BlockForm(size, rank if is_smaller(size, columns, rank) else None, unchanged=rank == most)
        for size, rank, most in zip(sizes, one.block_ranks, full, strict=True)
    ]


def factors(weight: torch.Tensor, matrix_edit: MatrixEdit) -> Packed:
    """The factors of every block of Ŵ, or the dense block; None for one that keeps all of its ranks."""
    from cti_edits.linalg.factors import factored_blocks

    one = expected_kind(matrix_edit, BlockSvdEdit)
    blocks = factored_blocks(weight, one.block_ranks, one.partition)
    return [None if form.unchanged else block for block, form in zip(blocks, block_forms(one), strict=True)]


def factored_layer(
    weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
) -> FactoredLinear:
    """A layer that takes the place of ``layer`` and runs the factors of Ŵ."""
    from cti_edits.linalg.factors import factored_blocks
    from cti_edits.methods.factored_linear import FactoredLinear

    one = expected_kind(matrix_edit, BlockSvdEdit)
    blocks = (
        factored_blocks(weight, one.block_ranks, one.partition)
        if packed is None
        else (_with_base_rows(packed, weight, one))
    )
    return FactoredLinear(blocks, one.partition, layer)


def _with_base_rows(packed: Packed, weight: torch.Tensor, one: BlockSvdEdit) -> list[Block]:
    """The blocks of a file of factors, with the base's own rows where a block keeps all of its ranks."""
    from cti_edits.linalg.lowrank import row_selector

    rows = partition_rows(one.shape[0], one.clusters, one.partition)
    return [
        weight[row_selector(chosen)] if block is None else block for block, chosen in zip(packed, rows, strict=True)
    ]
