"""Truncation of one block by its smaller Gram matrix: fast, and refused where it would not be exact. Tensors only."""

from __future__ import annotations

import math

import scipy.linalg
import torch

ROWS = 2048
"""Rows of the long side that are held in float64 at once."""

PANEL = 512
"""Columns of the Gram matrix that are summed at once. Smaller saves more of the symmetric half, and runs slower."""

SUBSET = 1 / 3
"""Above this share of eigenvectors LAPACK's whole solver takes less time than its solver for some of them (measured at
1024, 2048 and 4096 on two cores: 0.4, 0.37, 0.32)."""

SHARE = 1 / 20
"""How much of the weight's own rounding the truncation may be off."""


def truncated_by_gram(block: torch.Tensor, rank: int) -> torch.Tensor | None:
    """The best approximation of ``block`` with ``rank`` ranks, by eigenvectors of its smaller Gram matrix, or None.

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

    The result is given if that bound is at most a twentieth of u ‖Ŵ‖_F, with u the unit roundoff of the block's dtype:
    what rounding Ŵ to that dtype may move it by anyway, in the same norm. Hence an element differs from the exact Ŵ_il
    by no more than u |Ŵ_il| + u ‖Ŵ‖_F / 20. Elsewhere the caller needs a singular value decomposition, whose error has
    σ_j - σ_{j+1} in the place of λ_j - λ_{j+1}: a tie at the cut, a zero block, more ranks than the block has, singular
    values far below the first, float64.

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
    gram = _gram(tall)
    short = len(gram)
    leading = 2 * rank <= short
    # One index more than the basis needs, for both sides of the gap.
    first, last = (short - rank - 1, short - 1) if leading else (0, short - rank)
    values, vectors = _eigenpairs(gram, first, last)
    cut = 1 if leading else len(values) - 1
    below, above = float(values[cut - 1]), float(values[cut])
    if leading:
        largest, kept = float(values[-1]), float(values[cut:].sum())
    else:
        # The largest eigenvalue is not computed; no row's sum of absolute values is below it.
        lower = gram.tril().abs()
        largest = float((lower.sum(dim=0) + lower.sum(dim=1)).max())
        kept = float(gram.diagonal().sum() - values[:cut].sum())
    error = 4 * math.sqrt(sum(block.shape)) * torch.finfo(torch.float64).eps * largest
    gap = above - below - error
    if gap <= 0:
        return None
    moved = math.sqrt(2 * (above + error) * min(rank, short - rank)) * error / gap
    if moved > SHARE * torch.finfo(block.dtype).eps / 2 * math.sqrt(max(kept, 0.0)):
        return None
    return _projected(block, vectors[:, cut:] if leading else vectors[:, :cut], leading)


def _gram(tall: torch.Tensor) -> torch.Tensor:
    """The lower triangle of ``tall``ᵀ ``tall``, (n, n) float64; what lies above it is undefined."""
    size = tall.shape[1]
    gram = torch.zeros(size, size, dtype=torch.float64, device=tall.device)
    for part in torch.split(tall, ROWS):
        rows = part.double()
        for start in range(0, size, PANEL):
            columns = slice(start, start + PANEL)
            gram[start:, columns].addmm_(rows[:, start:].T, rows[:, columns])
    return gram


def _eigenpairs(gram: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues ``first``..``last`` of the lower triangle of ``gram`` (ascending, from 0), and their vectors."""
    if gram.is_cuda or last - first >= SUBSET * len(gram):
        values, vectors = torch.linalg.eigh(gram)
        return values[first : last + 1], vectors[:, first : last + 1]
    found = scipy.linalg.eigh(gram.numpy(), lower=True, subset_by_index=(first, last), driver="evr", check_finite=False)
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def _projected(block: torch.Tensor, basis: torch.Tensor, keep: bool) -> torch.Tensor:
    """``block`` projected on the span of ``basis`` along its short side, or what that leaves over; its own dtype."""
    edited = torch.empty(block.shape, dtype=block.dtype, device=block.device)
    transposed = block.shape[0] < block.shape[1]
    pair = (block.T, edited.T) if transposed else (block, edited)
    for part, into in zip(*(torch.split(side, ROWS) for side in pair), strict=True):
        rows = part.double()
        inside = (rows @ basis) @ basis.T
        into.copy_(inside if keep else rows - inside)
    return edited
