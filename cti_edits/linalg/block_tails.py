"""The last singular triplets of row blocks, which are all that a score needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cti_edits.errors import EditError
from cti_edits.linalg.gram import ROWS, eigenpairs, row_block_grams, squares_error
from cti_edits.linalg.lowrank import check_decomposable, decompose, row_blocks
from cti_edits.linalg.matrix_threads import one_torch_thread, openblas

TAIL = 20
"""How many of the last singular values of a block count for its score."""

TOLERANCE = 1e-6
"""How far a σ-gradient may be off, as a share of ‖G_k‖₂."""

ALL_PAIRS = 128
"""Up to this size, LAPACK's solver for all eigenpairs takes less time than its solver for some."""

ONE_THREAD = 1024
"""Up to this size, OpenBLAS solves with one thread: its other threads go on spinning after each call and slow torch's
down, which costs more than they save (measured at 576 on two cores)."""

SMALLEST = 1e-200
"""A block is not decomposed by its Gram matrix where Σ σ_i² is below this or above its inverse."""


@dataclass(frozen=True)
class BlockTail:
    """The last t singular triplets of one row block W_k (m_k, n), t = min(`TAIL`, r_k), with W_k v_i = σ_i u_i.

    Attributes:
        U: (m_k, t), left singular vectors, float64.
        S: (t,), the last singular values of the block, descending, float64.
        V: (n, t), right singular vectors, float64.
    """

    U: torch.Tensor
    S: torch.Tensor
    V: torch.Tensor


def block_tails(weight: torch.Tensor, clusters: Sequence[int], count: int = TAIL) -> dict[int, tuple[BlockTail, ...]]:
    """The last ``count`` singular triplets of every row block of ``weight``, for every K of ``clusters``.

    They are taken from the smaller Gram matrices, which one pass over ``weight`` gives for every K
    (`gram.row_block_grams`). Where that is not accurate enough, they are taken from the block's singular value
    decomposition.

    Let W be the block, m ≥ n (a wide block is taken transposed), A = WᵀW in float64, v̂_i the t = ``count`` last
    computed eigenvectors of A, σ̂_i = ‖W v̂_i‖ and û_i = W v̂_i / σ̂_i. The vectors x_i = (u_i, v_i)/√2 are
    eigenvectors of

        H = ( 0   W )      H x_i = σ_i x_i,      H x̂_i - σ̂_i x̂_i = (0, r_i)/√2,      r_i = Wᵀ û_i - σ̂_i v̂_i.
            ( Wᵀ  0 )

    r_i is computed, and so it shows every error that was made before: that of A, δ, which û_i amplifies to δ/σ̂_i, and
    the solver's. H has the other eigenvalues ±σ_k, and 0 if m > n. With gap_i the distance from σ̂_i to the nearest of
    them, Davis and Kahan give sin∠(x̂_i, x_i) ≤ ‖r_i‖/(√2 gap_i). As uᵀGv = xᵀMx with M = (0 G; Gᵀ 0), ‖M‖ = ‖G‖, and
    ‖x̂x̂ᵀ - xxᵀ‖ has trace norm 2 sin∠,

        |û_iᵀ G v̂_i - u_iᵀ G v_i| ≤ √2 (‖r_i‖ + ε) / gap_i · ‖G‖₂,      ε = √(m + n) 2⁻⁵² ‖W‖_F,

    where ε stands for the rounding of r_i itself: on random, positive, graded and nearly constant matrices it was
    measured below a fortieth of that. The triplets are taken if the factor of ‖G‖₂ is at most `TOLERANCE` for each i.

    A bound below gap_i: there is a singular value within ‖r_i‖ + ε of each σ̂_i. So the distance from σ̂_i to σ_k, k in
    the tail, is not less than |σ̂_i - σ̂_k| less that, and the distance to 0 and to the negative eigenvalues is σ̂_i.
    For the singular values before the tail, one eigenvalue λ̂ more is computed; by Weyl they are at least √(λ̂ - δ).
    Singular values that tie, or nearly, have no gap. Their vectors, and with them the score, are not unique, and the
    block is left to the decomposition. So is one with σ̂_i = 0.

    Args:
        weight: (m, n), any floating dtype.
        clusters: the K, each 1 ≤ K ≤ m.
        count: t, at least 1; fewer where a block has fewer ranks.

    Returns:
        For each K one `BlockTail` a block, in row order, on the weight's device. The last bits depend on which K are
        asked for together, since their Gram matrices share partial sums.

    Raises:
        EditError: a value is not finite, a K is out of range, ``count`` is below 1, or ``weight`` is no matrix.
    """
    if count < 1:
        raise EditError(f"expected 1 or more singular values a block, got {count}")
    weight = weight.detach()
    check_decomposable(weight)
    blocks = {number: row_blocks(weight, number) for number in clusters}
    tails: dict[int, dict[int, BlockTail]] = {number: {} for number in clusters}
    for number, index, gram in row_block_grams(weight, clusters):
        block = blocks[number][index]
        tails[number][index] = _tail_by_gram(block, gram, count) or _exact_tail(block, count)
    return {number: tuple(found[index] for index in sorted(found)) for number, found in tails.items()}


def _exact_tail(block: torch.Tensor, count: int) -> BlockTail:
    """By a float64 singular value decomposition."""
    (svd,) = decompose(block, 1)
    # Copies: a view would keep all of the decomposition in memory.
    return BlockTail(svd.U[:, -count:].clone(), svd.S[-count:].clone(), svd.Vh[-count:].mT.clone())


def _tail_by_gram(block: torch.Tensor, gram: torch.Tensor, count: int) -> BlockTail | None:
    """By the last eigenpairs of the smaller Gram matrix, or None where the bound of `block_tails` is not met."""
    square = float(gram.diagonal().sum())
    # A block of zeros, or one of float64 whose squares leave the range of float64.
    if not SMALLEST <= square <= 1 / SMALLEST:
        return None
    short = len(gram)
    count = min(count, short)
    # One more, if there is one, for the gap before the tail.
    values, vectors = _last_eigenpairs(gram, min(count + 1, short))
    before = float(values[count]) if short > count else math.inf
    V = vectors[:, :count].flip(1)
    tall = block.shape[0] >= block.shape[1]
    U, S, residuals = _completed(block if tall else block.mT, V)
    rounding = math.sqrt(sum(block.shape)) * torch.finfo(torch.float64).eps * math.sqrt(square)
    # ‖W‖_F² is not below λ_1.
    before = math.sqrt(max(before - squares_error(block.shape, square), 0.0))
    if not _accurate(S.tolist(), (residuals + rounding).tolist(), before):
        return None
    V = V.contiguous()
    return BlockTail(U, S, V) if tall else BlockTail(V, S, U)


def _last_eigenpairs(gram: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``count`` smallest eigenvalues of the lower triangle of ``gram``, or more, ascending, and their vectors."""
    if len(gram) <= ALL_PAIRS:
        with one_torch_thread():
            values, vectors = torch.linalg.eigh(gram)
        return values, vectors
    if len(gram) > ONE_THREAD or gram.is_cuda:
        return eigenpairs(gram, 0, count - 1)
    with openblas().limit(limits=1):
        return eigenpairs(gram, 0, count - 1)


def _completed(tall: torch.Tensor, V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """û_i, σ̂_i and ‖r_i‖ of `block_tails` for the vectors v̂_i in the columns of ``V``."""
    # With vectors in rows, BLAS takes half the time or less.
    right = V.mT.contiguous()
    parts = []
    back = torch.zeros_like(right)
    for part in torch.split(tall, ROWS):
        rows = part.double()
        parts.append(right @ rows.mT)
        back.addmm_(parts[-1], rows)
    left = torch.cat(parts, dim=1)
    S = torch.linalg.vector_norm(left, dim=1)
    # A singular value of zero gives NaN here, which `_accurate` refuses.
    left /= S[:, None]
    residuals = torch.linalg.vector_norm(back / S[:, None] - right * S[:, None], dim=1)
    return left.mT.contiguous(), S, residuals


def _accurate(values: Sequence[float], errors: Sequence[float], before: float) -> bool:
    """Whether every triplet meets the bound of `block_tails`.

    Args:
        values: σ̂_i, in the order of descending singular values.
        errors: ‖r_i‖ + ε of each.
        before: a bound below the singular values before the tail.
    """
    count = len(values)
    for i in range(count):
        # Of the eigenvalues of H below the tail, 0 is the nearest.
        larger = values[i - 1] - errors[i - 1] if i else before
        smaller = values[i + 1] + errors[i + 1] if i + 1 < count else 0.0
        gap = min(larger - values[i], values[i] - smaller)
        # Not "greater": a NaN is not accurate.
        if not math.sqrt(2) * errors[i] <= TOLERANCE * gap:
            return False
    return True
