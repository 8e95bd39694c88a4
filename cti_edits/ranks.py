"""The integers of an edit: how many rows each block has and how many ranks it keeps (DESIGN: K, ρ, block ranks).

Kept apart from `lowrank` so that reading a manifest needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cti_edits.errors import EditError


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


def full_ranks(shape: tuple[int, int], clusters: int) -> tuple[int, ...]:
    """r_k = min(m_k, n), the most rank each row block of an m × n matrix can have."""
    rows, columns = shape
    return tuple(min(size, columns) for size in row_block_sizes(rows, clusters))


def block_ranks(shape: tuple[int, int], clusters: int, rho: float) -> tuple[int, ...]:
    """j_k = max(1, ⌊ρ·r_k + 1e-9⌋), the ranks that each row block keeps.

    The 1e-9 keeps a product such as 0.1 · 4090 = 408.99999999999994 from losing a rank to floating point.

    Raises:
        EditError: ρ is not in (0, 1], or ``clusters`` is out of range.
    """
    if not 0.0 < rho <= 1.0:
        raise EditError(f"expected rho above 0 and at most 1, got {rho}")
    return tuple(max(1, math.floor(rho * full + 1e-9)) for full in full_ranks(shape, clusters))


def kept_parameters(shape: tuple[int, int], ranks: Sequence[int]) -> int:
    """Numbers needed to store the edited matrix: factors j_k·(m_k + n) a block, or the dense block if that is less."""
    rows, columns = shape
    sizes = row_block_sizes(rows, len(ranks))
    return sum(min(rank * (size + columns), size * columns) for size, rank in zip(sizes, ranks, strict=True))
