"""The integers of an edit: how many rows each block has and how many ranks it keeps (DESIGN: K, ρ, block ranks).

Kept apart from `lowrank` so that reading a manifest needs no torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from cti_edits.errors import EditError, printable

ROW_BLOCKS = "row-blocks"
K_SUBSPACES = "k-subspaces:"
HEXADECIMAL = "0123456789abcdef"
MAX_SUBSPACES = len(HEXADECIMAL)


def row_block_sizes(rows: int, clusters: int) -> tuple[int, ...]:
    """Rows m_k of each of ``clusters`` consecutive blocks, as ``torch.tensor_split`` cuts them.

    The first ``rows % clusters`` blocks have one row more than the others.

    Raises:
        EditError: ``clusters`` is not in 1..``rows``.
    """
    if not 1 <= clusters <= rows:
        raise EditError(f"expected clusters from 1 to {rows} (the number of rows), got {clusters}")
    size, longer = divmod(rows, clusters)
    return (size + 1,) * longer + (size,) * (clusters - longer)


def partition_rows(rows: int, clusters: int, partition: str = ROW_BLOCKS) -> tuple[tuple[int, ...] | range, ...]:
    """The rows of each block, ascending.

    Args:
        rows: m, the rows of the matrix.
        clusters: K.
        partition: "row-blocks", K consecutive blocks as `row_block_sizes` has them, or "k-subspaces:" and a
            hexadecimal digit for each row, the number of its block.

    Raises:
        EditError: ``clusters`` is out of range, or the digits are not one a row, name a block past K, or leave one
            without rows.
    """
    if partition == ROW_BLOCKS:
        ends = list(itertools.accumulate(row_block_sizes(rows, clusters)))
        return tuple(range(start, end) for start, end in zip([0, *ends], ends, strict=False))
    digits = partition.removeprefix(K_SUBSPACES)
    if digits == partition:
        raise EditError(f"expected {ROW_BLOCKS!r} or {K_SUBSPACES!r} and digits, got {printable(partition, 60)!r}")
    if not 1 <= clusters <= MAX_SUBSPACES:
        raise EditError(f"expected clusters from 1 to {MAX_SUBSPACES} with {K_SUBSPACES!r}, got {clusters}")
    if len(digits) != rows:
        raise EditError(f"expected {rows} digits, one a row, got {len(digits)}")
    blocks: list[list[int]] = [[] for _ in range(clusters)]
    for row, digit in enumerate(digits):
        if digit not in HEXADECIMAL[:clusters]:
            raise EditError(f"row {row}: expected a block from 0 to {HEXADECIMAL[clusters - 1]}, got {digit!r}")
        blocks[HEXADECIMAL.index(digit)].append(row)
    if not all(blocks):
        raise EditError(f"block {blocks.index([])} has no rows")
    return tuple(tuple(block) for block in blocks)


def full_ranks(shape: tuple[int, int], clusters: int, partition: str = ROW_BLOCKS) -> tuple[int, ...]:
    """r_k = min(m_k, n), the most rank each row block of an m × n matrix can have."""
    rows, columns = shape
    return tuple(min(size, columns) for size in _sizes(rows, clusters, partition))


def row_block_size(rows: int, clusters: int, block: int) -> int:
    """Rows m_k of one of K consecutive blocks, without those of the others, of which there may be many."""
    size, longer = divmod(rows, clusters)
    return size + (block < longer)


def whole_rank(shape: tuple[int, int], clusters: int) -> int:
    """Σ r_k of K consecutive row blocks: how many singular values they have together."""
    rows, columns = shape
    size, longer = divmod(rows, clusters)
    return longer * min(size + 1, columns) + (clusters - longer) * min(size, columns)


def block_ranks(shape: tuple[int, int], clusters: int, rho: float, partition: str = ROW_BLOCKS) -> tuple[int, ...]:
    """j_k = max(1, ⌊ρ·r_k + 1e-9⌋), the ranks that each row block keeps.

    The 1e-9 keeps a product such as 0.1 · 4090 = 408.99999999999994 from losing a rank to floating point.

    Raises:
        EditError: ρ is not in (0, 1], ``clusters`` is out of range, or the partition does not fit; see
            `partition_rows`.
    """
    if not 0.0 < rho <= 1.0:
        raise EditError(f"expected rho above 0 and at most 1, got {rho}")
    return tuple(max(1, math.floor(rho * full + 1e-9)) for full in full_ranks(shape, clusters, partition))


def kept_parameters(shape: tuple[int, int], ranks: Sequence[int], partition: str = ROW_BLOCKS) -> int:
    """Numbers needed to store the edited matrix: factors j_k·(m_k + n) a block, or the dense block if that is less."""
    rows, columns = shape
    sizes = _sizes(rows, len(ranks), partition)
    return sum(min(rank * (size + columns), size * columns) for size, rank in zip(sizes, ranks, strict=True))


def _sizes(rows: int, clusters: int, partition: str) -> tuple[int, ...]:
    if partition == ROW_BLOCKS:
        return row_block_sizes(rows, clusters)
    return tuple(len(block) for block in partition_rows(rows, clusters, partition))
