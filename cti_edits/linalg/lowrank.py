"""Row blocks of a weight, their singular value decompositions, and cutting them to ranks: the arithmetic of an edit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, partition_rows, row_block_sizes
from cti_edits.errors import EditError
from cti_edits.linalg.finite import all_finite
from cti_edits.linalg.gram import truncated_by_gram
from cti_edits.linalg.matrix_threads import matrix_threads

BIG = 1 << 23
"""Blocks of a weight with more elements than this are truncated `AT_ONCE`."""

AT_ONCE = 2
"""How many blocks are truncated side by side: each has steps that one thread does. More take more memory."""


@dataclass(frozen=True)
class BlockDecomposition:
    """The thin singular value decomposition of one row block, W_k = U diag(S) Vh.

    Attributes:
        U: (m_k, r_k), orthonormal columns.
        S: (r_k,), descending, not negative.
        Vh: (r_k, n), orthonormal rows.

    with r_k = min(m_k, n), all of the working precision.
    """

    U: torch.Tensor
    S: torch.Tensor
    Vh: torch.Tensor

    def truncated(self, rank: int) -> torch.Tensor:
        """The best approximation of the block of this rank (Eckart-Young), (m_k, n), in working precision."""
        return (self.U[:, :rank] * self.S[:rank]) @ self.Vh[:rank]


def row_blocks(weight: torch.Tensor, clusters: int) -> tuple[torch.Tensor, ...]:
    """Cut ``weight`` (m, n) into ``clusters`` consecutive blocks of rows (output features); views, no copies.

    Raises:
        EditError: ``weight`` is not a matrix, or has fewer rows than ``clusters``.
    """
    if weight.ndim != 2:
        raise EditError(f"expected a matrix, got a tensor of shape {tuple(weight.shape)}")
    row_block_sizes(weight.shape[0], clusters)
    return torch.tensor_split(weight, clusters, dim=0)


def row_selector(rows: Sequence[int]) -> slice | list[int]:
    """The index that selects ``rows`` of a matrix: a view, without a copy, where they are consecutive."""
    return slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)


def decompose(
    weight: torch.Tensor, clusters: int, dtype: torch.dtype = torch.float64
) -> tuple[BlockDecomposition, ...]:
    """Exact singular value decompositions of the row blocks of ``weight``.

    Args:
        weight: (m, n), any floating dtype.
        clusters: K, the number of row blocks, 1 ≤ K ≤ m.
        dtype: working precision, float64 or float32.

    Raises:
        EditError: a value is not finite, K is out of range, or ``dtype`` is neither float32 nor float64.
    """
    check_decomposable(weight, dtype)
    decompositions = []
    for block in row_blocks(weight.detach(), clusters):
        U, S, Vh = torch.linalg.svd(block.to(dtype), full_matrices=False)
        decompositions.append(BlockDecomposition(U, S, Vh))
    return tuple(decompositions)


def assemble(decompositions: Sequence[BlockDecomposition], ranks: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """The edited weight Ŵ (m, n) in ``dtype``: each block truncated to its rank, stacked in row order.

    A block that keeps all of its ranks is still rebuilt from its factors; see `truncate` for one that is left as it is.

    Raises:
        EditError: the number of ranks differs from that of the blocks, or a rank is outside 1..r_k.
    """
    check_ranks([len(block.S) for block in decompositions], ranks)
    return torch.cat([block.truncated(rank) for block, rank in zip(decompositions, ranks, strict=True)]).to(dtype)


def truncate(
    weight: torch.Tensor, ranks: Sequence[int], dtype: torch.dtype = torch.float64, partition: str = ROW_BLOCKS
) -> torch.Tensor:
    """Ŵ (m, n): ``weight`` with its row blocks cut to ``ranks``, in its own dtype (the paper's section 3.2).

    Computed in ``dtype`` and rounded once at the end. A block that loses no rank keeps its bits. In float64, a block of
    a narrower weight is truncated by its Gram matrix where that is known to be accurate enough (the bound is in
    `gram.truncated_by_gram`), which takes a fraction of the time; any other by its singular value decomposition.

    Args:
        weight: W (m, n), any floating dtype, finite.
        ranks: one a block.
        dtype: working precision, float64 or float32.
        partition: which rows make a block; see `ranks.partition_rows`.

    Raises:
        EditError: see `decompose`, `assemble` and `ranks.partition_rows`.
    """
    weight = weight.detach()
    if partition != ROW_BLOCKS:
        edited = weight.clone()
        for rows, rank in zip(partition_rows(weight.shape[0], len(ranks), partition), ranks, strict=True):
            selector = row_selector(rows)
            edited[selector] = truncate(weight[selector], [rank], dtype)
        return edited
    blocks = row_blocks(weight, len(ranks))
    full = [min(block.shape) for block in blocks]
    check_ranks(full, ranks)
    if list(ranks) == full:
        return weight.clone()
    check_decomposable(weight, dtype)
    big = weight.device.type == "cpu" and len(blocks) > 1 and weight.numel() > BIG
    with matrix_threads(AT_ONCE if big else 1) as run:
        return torch.cat(list(run(_truncated, blocks, ranks, itertools.repeat(dtype))))


def _truncated(block: torch.Tensor, rank: int, dtype: torch.dtype) -> torch.Tensor:
    if rank == min(block.shape):
        return block
    edited = truncated_by_gram(block, rank) if dtype == torch.float64 else None
    return assemble(decompose(block, 1, dtype), [rank], block.dtype) if edited is None else edited


def check_decomposable(weight: torch.Tensor, dtype: torch.dtype = torch.float64) -> None:
    """Refuse a weight that has no singular value decomposition, or a working precision that is not supported.

    Raises:
        EditError: a value is not finite, or ``dtype`` is neither float32 nor float64.
    """
    if dtype not in (torch.float32, torch.float64):
        raise EditError(f"expected float32 or float64 as working precision, got {dtype}")
    if not all_finite(weight):
        raise EditError("the weight holds NaN or infinite values, so it has no singular value decomposition")


def check_ranks(full: Sequence[int], ranks: Sequence[int]) -> None:
    """Refuse ``ranks`` that do not fit blocks of at most ``full`` ranks.

    Raises:
        EditError: their number differs from that of the blocks, or a rank is outside 1..r_k.
    """
    if len(full) != len(ranks):
        raise EditError(f"expected {len(full)} block ranks, one a row block, got {len(ranks)}")
    for index, (most, rank) in enumerate(zip(full, ranks, strict=True)):
        if not 1 <= rank <= most:
            raise EditError(f"block {index}: expected a rank from 1 to {most}, got {rank}")
