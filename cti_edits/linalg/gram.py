"""The smaller Gram matrices of row blocks, and truncation by their eigenvectors where that is exact enough."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from cti_edits.artifact.ranks import partition_rows
from cti_edits.linalg.lanczos import Cut, leading_eigenvectors
from cti_edits.linalg.lapack import some_eigenpairs

ROWS = 2048
"""Rows of the long side that are held in float64 at once."""

PANEL = 192
"""Rows of the Gram matrix that are summed at once. Fewer save more of the symmetric half; MKL takes longer where they
are no multiple of 48 (measured with one thread and with two, at 576, 1024 and 4096: 192 and 384 are fastest)."""

STRIP = 512
"""Rows of the long side that are projected at once: so few that the memory of one strip serves the next."""

SUBSET = 1 / 3
"""For more than this share of the eigenvectors, LAPACK's solver for all takes less time than its solver for some
(measured at 1024, 2048 and 4096 on two cores: 0.4, 0.37, 0.32)."""

LARGE = 3072
FEW = 1 / 50
"""From size `LARGE` on, and for at most the share `FEW` of the eigenvectors, `leading_eigenvectors` takes less time
than LAPACK (measured on random matrices on two cores; one of 2048 still fits into the cache, where LAPACK is fast)."""

RESIDUAL = 16
"""Weight of the residual of `leading_eigenvectors` in the error bound. The iteration ends as soon as the bound is met:
with a weight of 1, more elements of the result would differ from LAPACK's in their last bit."""

SHARE = 1 / 20
"""The most that a truncation may be off, as a share of what rounding Ŵ to its dtype moves it by."""


def truncated_by_gram(block: torch.Tensor, rank: int) -> torch.Tensor | None:
    """The best approximation of ``block`` of this rank, by eigenvectors of its smaller Gram matrix, or None.

    Let m ≥ n (a wide block is taken transposed), A = WᵀW in float64, λ_i = σ_i² its eigenvalues, V_j its ``rank`` = j
    leading eigenvectors, V_c the n - j others. Then

        Ŵ = W V_j V_jᵀ = W - W V_c V_cᵀ,

    so only the fewer of the two are computed. What is computed are eigenvectors V̂ of A + E. With P and P̂ the
    projections on the exact and the computed span, Z = V_cᵀ V̂_j and Y = V_jᵀ V̂_c,

        W(P̂ - P) = W V_c Z V̂_jᵀ - W V_j Y V̂_cᵀ.

    (A + E) V̂ = V̂ Λ̂ times V_cᵀ or V_jᵀ gives Z_kl = (V_cᵀ E V̂_j)_kl / (λ̂_l - λ_k), Y_kl = (V_jᵀ E V̂_c)_kl / (λ̂_l - λ_k).
    W V_c and W V_j scale row k by σ_k, and σ_k / |λ̂_l - λ_k| is largest next to the cut. With ‖E‖ ≤ δ, so that
    |λ̂_i - λ_i| ≤ δ,

        ‖Ŵ_computed - Ŵ‖_F ≤ √2 √(λ̂_j + δ) √min(j, n - j) δ / (λ̂_j - λ̂_{j+1} - δ),   δ = 4 √(m + n) 2⁻⁵² λ̂_1.

    Rounding errors of m products and n eliminations add up to m + n units at worst, and to the root of it as they come
    (Higham and Mary 2019); on random, positive, graded and nearly constant matrices the part of E that couples the two
    spans was measured below 0.6 √(m + n) units. How far V̂ is from orthonormal (some hundred units) moves Ŵ by as
    little, as no gap divides it.

    A few vectors of a big matrix come from `lanczos.leading_eigenvectors`. They and Θ belong to an A' that is off by
    ‖R‖ more (`lanczos.Cut`): δ is then larger by ‖R‖_F, the smallest eigenvalue of Θ is λ̂_j, and μ, above all others
    of A', stands for λ̂_{j+1}. Where they are refused, and elsewhere, LAPACK finds them.

    The result is given if that bound is at most a twentieth of u ‖Ŵ‖_F, with u the unit roundoff of the block's dtype:
    what rounding Ŵ to that dtype may move it by anyway, in the same norm. Hence an element differs from the exact Ŵ_il
    by no more than u |Ŵ_il| + u ‖Ŵ‖_F / 20. Where the bound is not met, the caller needs a singular value
    decomposition, whose error has σ_j - σ_{j+1} in the place of λ_j - λ_{j+1}. That is so at a tie at the cut, for a
    zero block, for more ranks than the block has, for singular values far below the first, and for float64.

    Args:
        block: (m, n), any floating dtype, finite.
        rank: 1 ≤ j < min(m, n).

    Returns:
        (m, n) in the block's dtype, or None where the bound is not met.
    """
    # float64 is as fine as the arithmetic here, and squaring halves the digits.
    if block.dtype == torch.float64:
        return None
    tall = block if block.shape[0] >= block.shape[1] else block.T
    gram = gram_matrix(tall)
    short = len(gram)
    if short >= LARGE and rank <= FEW * short:
        basis = leading_eigenvectors(gram, rank, functools.partial(accurate_cut, shape=block.shape, dtype=block.dtype))
        if basis is not None:
            return projected(block, basis, keep=True)
    leading = 2 * rank <= short
    # One index more than the basis needs, for both sides of the gap.
    first, last = (short - rank - 1, short - 1) if leading else (0, short - rank)
    values, vectors = eigenpairs(gram, first, last)
    cut = 1 if leading else len(values) - 1
    below, above = float(values[cut - 1]), float(values[cut])
    if leading:
        largest, kept = float(values[-1]), float(values[cut:].sum())
    else:
        # The largest eigenvalue is not computed.
        largest = largest_at_most(gram)
        kept = float(gram.diagonal().sum() - values[:cut].sum())
    error = squares_error(block.shape, largest)
    if not accurate_at(above, below, error, min(rank, short - rank), kept, block.dtype):
        return None
    return projected(block, vectors[:, cut:] if leading else vectors[:, :cut], leading)


def accurate_cut(cut: Cut, shape: Sequence[int], dtype: torch.dtype) -> bool:
    """Whether `truncated_by_gram` may use the eigenvectors that ``cut`` is of, for a block of this shape and dtype."""
    error = squares_error(shape, cut.largest) + RESIDUAL * cut.error
    return accurate_at(cut.above, cut.below, error, cut.rank, cut.kept, dtype)


def squares_error(shape: Sequence[int], largest: float) -> float:
    """δ of `truncated_by_gram`: how far computed eigenvalues of a block's Gram matrix may be off.

    Args:
        shape: (m, n), of the block.
        largest: λ_1, or a bound above it.
    """
    return 4 * math.sqrt(sum(shape)) * torch.finfo(torch.float64).eps * largest


def largest_at_most(gram: torch.Tensor) -> float:
    """A bound above the largest eigenvalue of a symmetric matrix, its largest absolute row sum (Gershgorin).

    Args:
        gram: (n, n), of which only the lower triangle is read.
    """
    lower = gram.tril().abs()
    return float((lower.sum(dim=0) + lower.sum(dim=1)).max())


def accurate_at(above: float, below: float, error: float, fewer: int, kept: float, dtype: torch.dtype) -> bool:
    """Whether the bound of `truncated_by_gram` is met at a cut.

    Args:
        above: λ̂_j, the last eigenvalue that is kept.
        below: λ̂_{j+1}, the first that is not.
        error: δ.
        fewer: min(j, n - j).
        kept: Σ λ̂_i over those that are kept, ‖Ŵ‖_F².
        dtype: of the block.
    """
    gap = above - below - error
    if gap <= 0:
        return False
    moved = math.sqrt(2 * (above + error) * fewer) * error / gap
    return moved <= SHARE * torch.finfo(dtype).eps / 2 * math.sqrt(max(kept, 0.0))


def gram_matrix(tall: torch.Tensor) -> torch.Tensor:
    """AᵀA of A = ``tall`` (m, n), any floating dtype: (n, n) float64, of which only the lower triangle is defined."""
    size = tall.shape[1]
    gram = torch.zeros(size, size, dtype=torch.float64, device=tall.device)
    for part in torch.split(tall, ROWS):
        rows = part.double()
        for start in range(0, size, PANEL):
            stop = start + PANEL
            # Panels of rows: panels of columns take a sixth longer.
            gram[start:stop, :stop].addmm_(rows[:, start:stop].T, rows[:, :stop])
    return gram


def row_block_grams(weight: torch.Tensor, clusters: Sequence[int]) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The smaller Gram matrix of every row block for every K of ``clusters``, from one pass over ``weight``.

    For a wide block (m_k < n) that lies within a bigger wide block, W_k W_kᵀ is a diagonal block of the bigger one's.
    For any other block, W_kᵀ W_k is a sum over pieces of its rows. ``weight`` is cut into these pieces wherever a block
    of any K begins or ends, since blocks of different K need not nest where K does not divide m. Each matrix is made
    when it is asked for. At any time there are, for tall blocks, at most one sum for each K and one piece, and for wide
    blocks one matrix.

    Args:
        weight: (m, n), any floating dtype, finite.
        clusters: the K.

    Yields:
        K, the index of the block, and its Gram matrix, (r_k, r_k) float64 with r_k = min(m_k, n), of which only the
        lower triangle is defined and nothing may be changed. In no order that is promised; each block once.

    Raises:
        EditError: a K is out of range.
    """
    blocks = [
        (rows, count, index)
        for count in dict.fromkeys(clusters)
        for index, rows in enumerate(partition_rows(weight.shape[0], count))
        if isinstance(rows, range)
    ]
    tall = [block for block in blocks if len(block[0]) >= weight.shape[1]]
    wide = [block for block in blocks if len(block[0]) < weight.shape[1]]
    yield from _sums(weight, tall)
    yield from _parts(weight, wide)


def _sums(weight: torch.Tensor, blocks: Sequence[tuple[range, int, int]]) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The Gram matrices of tall blocks, in the order in which the blocks end."""
    bounds = sorted({bound for rows, _, _ in blocks for bound in (rows.start, rows.stop)})
    sums: dict[tuple[int, int], torch.Tensor] = {}
    for start, stop in itertools.pairwise(bounds):
        containing = [(rows, key) for rows, *key in blocks if rows.start <= start and stop <= rows.stop]
        if not containing:
            continue
        piece = gram_matrix(weight[start:stop])
        # The last block takes the piece itself: where blocks nest it is the only one that begins and ends with it.
        for number, (rows, (count, index)) in enumerate(sorted(containing, key=lambda one: -len(one[0])), start=1):
            if rows.start < start:
                sums[count, index] += piece
            else:
                sums[count, index] = piece if number == len(containing) else piece.clone()
        del piece
        for rows, (count, index) in containing:
            if rows.stop == stop:
                yield count, index, sums.pop((count, index))


def _parts(weight: torch.Tensor, blocks: Sequence[tuple[range, int, int]]) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The Gram matrices of wide blocks, each cut out of that of the biggest block that contains it."""
    within: dict[range, list[tuple[range, int, int]]] = {}
    for block in sorted(blocks, key=lambda one: -len(one[0])):
        rows = block[0]
        host = next((big for big in within if big.start <= rows.start and rows.stop <= big.stop), rows)
        within.setdefault(host, []).append(block)
    for host, inside in within.items():
        gram = gram_matrix(weight[host.start : host.stop].T)
        for rows, count, index in inside:
            part = slice(rows.start - host.start, rows.stop - host.start)
            yield count, index, gram[part, part]


def eigenpairs(gram: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some eigenvalues of a symmetric matrix, and their eigenvectors.

    Args:
        gram: (n, n) float64, of which only the lower triangle is read.
        first: index of the first one, from 0 in ascending order.
        last: index of the last one, ``first`` ≤ ``last`` < n.

    Returns:
        (count,) ascending and (n, count), float64.
    """
    if gram.is_cuda or last - first >= SUBSET * len(gram):
        values, vectors = torch.linalg.eigh(gram)
        return values[first : last + 1], vectors[:, first : last + 1]
    return some_eigenpairs(gram, first, last)


def projected(block: torch.Tensor, basis: torch.Tensor, keep: bool) -> torch.Tensor:
    """``block`` projected on a subspace along its short side, or on the complement of that, in its own dtype.

    Args:
        block: (m, n), any floating dtype.
        basis: (min(m, n), j) float64, orthonormal columns that span the subspace.
        keep: True for the subspace, False for its complement.
    """
    edited = torch.empty(block.shape, dtype=block.dtype, device=block.device)
    transposed = block.shape[0] < block.shape[1]
    pair = (block.T, edited.T) if transposed else (block, edited)
    for part, into in zip(*(torch.split(side, STRIP) for side in pair), strict=True):
        rows = part.double()
        inside = (rows @ basis) @ basis.T
        into.copy_(inside if keep else rows - inside)
    return edited
