"""The method ``block-svd``: each row block W_k keeps its j_k largest singular values (the paper's section 3.2).

Ŵ_k = Σ_{i ≤ j_k} σ_i u_i v_iᵀ. Arguments and errors of the functions are those of `method.Method`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from cti_edits.artifact.manifest import MatrixEdit
from cti_edits.artifact.ranks import kept_parameters, partition_rows
from cti_edits.linalg.factors import Block, factored_blocks, weight_of_blocks
from cti_edits.linalg.lowrank import row_selector, truncate
from cti_edits.methods.factored_linear import FactoredLinear

if TYPE_CHECKING:
    from cti_edits.methods.method import Packed

NAME = "block-svd"


def edited_weight(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> torch.Tensor:
    """Ŵ (m, n) in the dtype of ``weight``; of ``packed`` on the CPU."""
    if packed is None:
        return truncate(weight, matrix_edit.block_ranks, partition=matrix_edit.partition)
    blocks = _with_base_rows(packed, weight, matrix_edit)
    return weight_of_blocks(blocks, matrix_edit.shape[0], weight.dtype, matrix_edit.partition)


def factors_are_smaller(matrix_edit: MatrixEdit) -> bool:
    """Whether the factors have fewer numbers than the matrix."""
    rows, columns = matrix_edit.shape
    return kept_parameters(matrix_edit.shape, matrix_edit.block_ranks, matrix_edit.partition) < rows * columns


def factors(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> Sequence[Block]:
    """The factors of every block of Ŵ, or the dense block where they have no fewer numbers."""
    if packed is None:
        return factored_blocks(weight, matrix_edit.block_ranks, matrix_edit.partition)
    return _with_base_rows(packed, weight, matrix_edit)


def factored_layer(
    weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
) -> FactoredLinear:
    """A layer that takes the place of ``layer`` and runs the factors of Ŵ."""
    return FactoredLinear(factors(weight, matrix_edit, packed), matrix_edit.partition, layer)


def _with_base_rows(packed: Packed, weight: torch.Tensor, matrix_edit: MatrixEdit) -> list[Block]:
    """The blocks of a file of factors, with the base's own rows where a block keeps all of its ranks."""
    rows = partition_rows(matrix_edit.shape[0], matrix_edit.clusters, matrix_edit.partition)
    return [
        weight[row_selector(chosen)] if block is None else block for block, chosen in zip(packed, rows, strict=True)
    ]
