"""The method ``block-svd``: each row block W_k keeps its j_k largest singular values (the paper's section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cti_edits.artifact.manifest import MatrixEdit
from cti_edits.artifact.ranks import kept_parameters, partition_rows
from cti_edits.linalg.factors import Block, assembled, factored, members
from cti_edits.linalg.lowrank import truncate
from cti_edits.methods.factored_linear import FactoredLinear

NAME = "block-svd"

Packed = Sequence[Block | None]
"""Factors of every block from a file; None for a block that keeps all of its ranks."""


def edited_weight(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> torch.Tensor:
    """Ŵ (m, n) in the weight's dtype.

    Args:
        weight: W (m, n), rows = output features, finite.
        matrix_edit: what to keep.
        packed: factors of a file, so that nothing is decomposed.
    """
    if packed is None:
        return truncate(weight, matrix_edit.block_ranks, partition=matrix_edit.partition)
    blocks = _with_base_rows(packed, weight, matrix_edit)
    return assembled(blocks, matrix_edit.shape[0], weight.dtype, matrix_edit.partition)


def factors_are_smaller(matrix_edit: MatrixEdit) -> bool:
    """Whether the factors have fewer numbers than the matrix."""
    rows, columns = matrix_edit.shape
    return kept_parameters(matrix_edit.shape, matrix_edit.block_ranks, matrix_edit.partition) < rows * columns


def factors(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> Sequence[Block]:
    """The factors of every block of Ŵ; arguments as in `edited_weight`."""
    if packed is None:
        return factored(weight, matrix_edit.block_ranks, matrix_edit.partition)
    return _with_base_rows(packed, weight, matrix_edit)


def factored_layer(
    weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
) -> FactoredLinear:
    """A layer that takes the place of ``layer`` and runs the factors; the rest as in `edited_weight`."""
    return FactoredLinear(factors(weight, matrix_edit, packed), matrix_edit.partition, layer)


def _with_base_rows(packed: Packed, weight: torch.Tensor, matrix_edit: MatrixEdit) -> list[Block]:
    """The blocks of a file of factors, with the base's own rows where a block keeps all of its ranks."""
    rows = partition_rows(matrix_edit.shape[0], matrix_edit.clusters, matrix_edit.partition)
    return [weight[members(chosen)] if block is None else block for block, chosen in zip(packed, rows, strict=True)]
