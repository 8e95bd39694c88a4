"""Factors of an edited weight, and their product with the same bits on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, full_ranks, partition_rows
from cti_edits.linalg.gram import eigenpairs
from cti_edits.linalg.lowrank import decompose, row_selector, truncate


@dataclass(frozen=True)
class LowRank:
    """A row block as a product, Ŵ_k = left right.

    Attributes:
        left: (m_k, j_k), U S.
        right: (j_k, n), Vᵀ.

    Both float32, or float64 where the weight is.
    """

    left: torch.Tensor
    right: torch.Tensor


Block: TypeAlias = LowRank | torch.Tensor
"""A row block of Ŵ: its factors, or the dense (m_k, n) block in the weight's dtype."""

Exponents: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int32]]"


def is_smaller(rows: int, columns: int, rank: int) -> bool:
    """Whether factors of ``rank`` have fewer numbers than a block of ``rows`` × ``columns``: j (m + n) < m n."""
    return rank * (rows + columns) < rows * columns


def factored_blocks(weight: torch.Tensor, ranks: Sequence[int], partition: str = ROW_BLOCKS) -> tuple[Block, ...]:
    """The row blocks of Ŵ, which is ``weight`` cut to ``ranks``, on the weight's device.

    Each is factored where that takes fewer numbers than the block, and else is the dense block of `lowrank.truncate`. A
    block that loses no rank keeps its bits.

    Args:
        weight: (m, n), any floating dtype.
        ranks: one a block.
        partition: which rows make a block; see `ranks.partition_rows`.

    Raises:
        EditError: see `lowrank.truncate`.
    """
    weight = weight.detach()
    columns = weight.shape[1]
    # In at least float32: rounded to a narrower dtype first, Ŵ would have more ranks than its factors.
    edited = truncate(weight if weight.dtype == torch.float64 else weight.float(), ranks, partition=partition)
    full = full_ranks((weight.shape[0], columns), len(ranks), partition)
    blocks: list[Block] = []
    for rows, rank, most in zip(partition_rows(weight.shape[0], len(ranks), partition), ranks, full, strict=True):
        if rank == most:
            blocks.append(weight[row_selector(rows)])
        elif is_smaller(len(rows), columns, rank):
            blocks.append(low_rank(edited[row_selector(rows)], rank))
        else:
            blocks.append(edited[row_selector(rows)].to(weight.dtype))
    return tuple(blocks)


def low_rank(block: torch.Tensor, rank: int) -> LowRank:
    """Factors of a block B (m, n) whose rank is at most ``rank`` but for rounding.

    B = B V Vᵀ for any orthonormal basis V of its row space. V is taken from the leading eigenvectors of the smaller
    Gram matrix, in float64: what squaring loses, singular values below 1e-8 of the largest, is under float32's
    rounding. A float64 block takes a singular value decomposition, and so does one whose product turns out to be
    further from B than its dtype's rounding.

    Args:
        block: any floating dtype.
        rank: 1 ≤ j ≤ min(m, n).

    Returns:
        (m, j) and (j, n), float64 for a float64 block, else float32.
    """
    if block.dtype != torch.float64:
        wide = block.double()
        tall = block.shape[0] >= block.shape[1]
        basis = _leading(wide.T @ wide if tall else wide @ wide.T, rank)
        if tall:
            left, right = wide @ basis, basis.T
        else:
            projected = basis.T @ wide
            sizes = torch.linalg.vector_norm(projected, dim=1, keepdim=True)
            sizes = torch.where(sizes > 0, sizes, 1.0)
            left, right = basis * sizes.T, projected / sizes
        off = torch.linalg.vector_norm(wide - left @ right)
        if float(off) <= torch.finfo(block.dtype).eps * float(torch.linalg.vector_norm(wide)):
            return LowRank(left.float().contiguous(), right.float().contiguous())
    svd = decompose(block, 1)[0]
    kept = torch.float64 if block.dtype == torch.float64 else torch.float32
    left, right = svd.U[:, :rank] * svd.S[:rank], svd.Vh[:rank]
    return LowRank(left.to(kept).contiguous(), right.to(kept).contiguous())


def _leading(gram: torch.Tensor, count: int) -> torch.Tensor:
    """The eigenvectors of the ``count`` largest eigenvalues, the largest first."""
    return eigenpairs(gram, len(gram) - count, len(gram) - 1)[1].flip(1)


def weight_of_blocks(
    blocks: Sequence[Block], rows: int, dtype: torch.dtype, partition: str = ROW_BLOCKS
) -> torch.Tensor:
    """Ŵ (``rows``, n) in ``dtype`` on the CPU, with the same bits on every machine; see `reproducible_product`.

    Args:
        blocks: the row blocks of Ŵ.
        rows: m.
        dtype: of the result.
        partition: which rows make a block; see `ranks.partition_rows`.

    Raises:
        EditError: the partition does not fit.
    """
    columns = blocks[0].right.shape[1] if isinstance(blocks[0], LowRank) else blocks[0].shape[1]
    weight = torch.empty(rows, columns, dtype=dtype)
    for chosen, block in zip(partition_rows(rows, len(blocks), partition), blocks, strict=True):
        dense = reproducible_product(block.left, block.right) if isinstance(block, LowRank) else block.cpu()
        # By way of float32, as torch converts to half precision, on processors that have an instruction for it, too.
        half = dtype in (torch.float16, torch.bfloat16)
        weight[row_selector(chosen)] = (dense.float() if half else dense).to(dtype)
    return weight


def reproducible_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """``left`` (m, j) times ``right`` (j, n), float64, on the CPU, with the same bits on every machine.

    An ordinary product depends on the order in which the machine adds j terms. Here each row of ``left`` and each
    column of ``right`` is cut, from its largest value downwards, into slices of b bits (Ozaki et al. 2012): integers
    of at most 2ᵇ in magnitude, times a power of two. With j 2²ᵇ ≤ 2⁵³ every product of two slices and every partial
    sum is an integer that float64 holds, so that no order of summation rounds. What rounds, elementwise and in one
    order, is the sum of those few products.

    Two slices for float32, three for float64. With x the largest values of row and column, the result is off by less
    than j (x_left x_right) 2¹⁻²ᵇ for two and 2¹⁻³ᵇ for three, and by a rounding of float64; b is 22 for j up to 512,
    20 up to 8192.
    """
    left, right = left.detach().cpu(), right.detach().cpu()
    bits = (53 - (left.shape[1] - 1).bit_length()) // 2
    count = 3 if torch.float64 in (left.dtype, right.dtype) else 2
    lefts, left_exponents = _slices(left, bits, count)
    rights, right_exponents = _slices(right.T, bits, count)
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.float64)
    for level in reversed(range(count)):
        total *= 2.0**-bits
        for first in range(level + 1):
            total += lefts[first] @ rights[level - first].T
    return torch.from_numpy(np.ldexp(total.numpy(), left_exponents[:, None] + right_exponents[None, :]))


def _slices(matrix: torch.Tensor, bits: int, count: int) -> tuple[list[torch.Tensor], Exponents]:
    """Each row as Σ_s slice_s 2^(exponent - s bits), integers of at most 2^bits, and the exponents."""
    wide = matrix.double().numpy()
    exponents = np.frexp(np.abs(wide).max(axis=1))[1] - bits
    rest = torch.from_numpy(np.ldexp(wide, -exponents[:, None]))
    slices = []
    for _ in range(count):
        slices.append(rest.round())
        rest = (rest - slices[-1]) * 2.0**bits
    return slices, exponents
