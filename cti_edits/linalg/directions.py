"""Changing some singular values of a matrix and none of its singular vectors: the arithmetic of ``directions``.

With P_i the projection on the i-th singular vector of the short side (v_i v_iᵀ for a tall W),

    Ŵ = W + Σ_i (s_i − 1) σ_i u_i v_iᵀ = W + W Σ_i (s_i − 1) P_i,

so that the sign of u_i and v_i, which no decomposition determines, cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cti_edits.errors import EditError
from cti_edits.linalg.block_spectra import BlockSpectrum
from cti_edits.linalg.factors import LowRank
from cti_edits.linalg.gram import SHARE, STRIP, eigenpairs, gram_matrix, largest_at_most, squares_error
from cti_edits.linalg.lowrank import check_decomposable, decompose

INSEPARABLE = 2.0**20
"""Two singular values are told apart if they differ by more than this many times 4 √(m + n) 2⁻⁵² ‖W‖_F, a bound above
what a singular value decomposition may be off by. Their vectors are then off by less than 1e-6."""

SAME_SIGMA = 1e-6
"""How far σ may be from the one that an edit names, as a share of it; and a hundredth of that, as a share of ‖W‖_F.
What squaring loses comes on top: σ² of a Gram matrix may be off by δ (`gram.squares_error`), here and where the edit
was made, so that a σ far below 1e-6 ‖W‖_F tells nothing of the base."""


@dataclass(frozen=True)
class Directions:
    """Some singular directions of a block W_k (m_k, n) and the factors that their singular values get.

    Attributes:
        index: i of each, ascending from the largest singular value, 0.
        scale: s_i of each.
        sigma: σ_i that each is expected to have; None: not known.
    """

    index: Sequence[int]
    scale: Sequence[float]
    sigma: Sequence[float] | None = None


def inseparable(values: torch.Tensor, shape: Sequence[int], norm: float) -> torch.Tensor:
    """Which neighbours are too close to be told apart: (count − 1,) booleans, for each value and the next.

    Args:
        values: (count,) consecutive singular values of a block, descending, float64.
        shape: (m, n) of the block.
        norm: ‖W‖_F of the block.
    """
    return values[:-1] - values[1:] <= INSEPARABLE * squares_error(shape, norm)


def separable(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """(r,) booleans: which of all singular values of a block can be told from both neighbours; see `inseparable`."""
    close = inseparable(values, shape, float(torch.linalg.vector_norm(values)))
    apart = torch.ones(len(values), dtype=torch.bool, device=values.device)
    apart[:-1] &= ~close
    apart[1:] &= ~close
    return apart


def difference(block: torch.Tensor, directions: Directions, spectrum: BlockSpectrum | None = None) -> LowRank:
    """Ŵ − W as factors (m, s) and (s, n), float64, s the number of directions.

    From eigenvectors of the smaller Gram matrix A = WᵀW (of a tall block), where that is exact enough, else from a
    singular value decomposition. Let s_i be the factor of every direction, 1 of those that are not edited, so that
    Ŵ = W V diag(s) Vᵀ. What is computed are eigenvectors V̂ and eigenvalues λ̂ of A + E, ‖E‖ ≤ δ (see
    `gram.truncated_by_gram`). (A + E) V̂ = V̂ Λ̂ times Vᵀ gives (VᵀV̂)_ij = (Vᵀ E V̂)_ij / (λ̂_j − λ_i), hence

        (Vᵀ (V̂ diag(s) V̂ᵀ − V diag(s) Vᵀ) V̂)_ij = (s_j − s_i) (VᵀV̂)_ij = (s_j − s_i) (Vᵀ E V̂)_ij / (λ̂_j − λ_i),

    zero unless i or j is one of the s directions: of s rows and s columns of Vᵀ E V̂, whose norms are at most δ. W
    scales row i by σ_i ≤ √(λ̂_i + δ), and |λ_i − λ̂_i| ≤ δ, so that

        ‖Ŵ_computed − Ŵ‖_F ≤ √(2 s) δ max √(λ̂_i + δ) |s_i − s_j| / (|λ̂_i − λ̂_j| − δ)   over all s_i ≠ s_j.

    The vectors are used if that is at most a twentieth of u ‖W‖_F, with u the unit roundoff of the block's dtype: of
    what rounding to that dtype has moved W by already. Two such Ŵ, from either side's Gram matrix or of two machines,
    differ by at most a tenth of u ‖W‖_F before they are rounded.

    A decomposition has singular values off by ε = 4 √(m + n) 2⁻⁵² ‖W‖_F at most and σ_i − σ_j in the place of
    λ_i − λ_j. `INSEPARABLE` asks for 2²⁰ ε between those with different factors, so that Ŵ is then off by at most about
    √(2 s) 2⁻²⁰ max σ_i |s_i − s_j|; where the bound above failed by a little, it is off by far less.

    Args:
        block: W (m, n), any floating dtype, finite.
        directions: of it.
        spectrum: of ``block``, if there is one already (see `block_spectra.block_spectra`); made here if None. The
            last bits may differ.

    Raises:
        EditError: two singular values are too close to be told apart and would get different factors; or one is not
            the one that is expected; or ``block`` has a value that is not finite.
    """
    check_decomposable(block)
    by_gram = _by_gram(block, directions, spectrum)
    if by_gram is not None:
        return by_gram
    exact = decompose(block, 1)[0] if spectrum is None else spectrum.decomposed(block)
    chosen = list(directions.index)
    _check(exact.S, 0, block.shape, float(torch.linalg.vector_norm(exact.S)), directions)
    scale = torch.tensor(directions.scale, dtype=torch.float64, device=block.device)
    return LowRank(exact.U[:, chosen] * (exact.S[chosen] * (scale - 1.0)), exact.Vh[chosen])


def with_difference(block: torch.Tensor, added: LowRank) -> torch.Tensor:
    """``block`` (m, n) plus a product, summed in float64 and rounded once to the block's dtype."""
    edited = torch.empty(block.shape, dtype=block.dtype, device=block.device)
    for part, left, into in zip(*(torch.split(side, STRIP) for side in (block, added.left, edited)), strict=True):
        into.copy_(summed(part, left.double() @ added.right.double()))
    return edited


def summed(part: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """``part`` + ``added`` in float64; where nothing is added −0.0 stays −0.0, so that an identity changes no bit."""
    wide = part.double()
    return torch.where(added == 0, wide, wide + added)


def _by_gram(block: torch.Tensor, directions: Directions, spectrum: BlockSpectrum | None) -> LowRank | None:
    """`difference` by the smaller Gram matrix; None where its bound is not met."""
    if block.dtype == torch.float64:
        return None
    transposed = block.shape[0] < block.shape[1]
    short = min(block.shape)
    # Those that are edited, and one on each side, which the bound needs.
    start, stop = max(min(directions.index) - 1, 0), min(max(directions.index) + 2, short)
    if spectrum is None:
        gram = gram_matrix(block.T if transposed else block)
        squares, vectors = (found.flip(-1) for found in eigenpairs(gram, short - stop, short - start - 1))
        squares = squares.clamp(min=0.0)
        largest = float(squares[0]) if start == 0 else largest_at_most(gram)
        norm = math.sqrt(float(gram.diagonal().sum()))
    else:
        squares, vectors = spectrum.S[start:stop].square(), spectrum.vectors[:, start:stop]
        largest, norm = float(spectrum.S[0]) ** 2, float(torch.linalg.vector_norm(spectrum.S))
    error = squares_error(block.shape, largest)
    factors = torch.ones(len(squares), dtype=torch.float64, device=block.device)
    local = [index - start for index in directions.index]
    scale = torch.tensor(directions.scale, dtype=torch.float64, device=block.device)
    factors[local] = scale
    moved = math.sqrt(2 * len(local)) * error * _steepest(squares, factors, error)
    if not moved <= SHARE * torch.finfo(block.dtype).eps / 2 * norm:
        return None
    _check(squares.sqrt(), start, block.shape, norm, directions)
    basis = vectors[:, local]
    wide = block.double()
    if transposed:
        return LowRank(basis * (scale - 1.0), basis.T @ wide)
    return LowRank(wide @ (basis * (scale - 1.0)), basis.T.contiguous())


def _steepest(squares: torch.Tensor, factors: torch.Tensor, error: float) -> float:
    """A bound above τ_i |s_i − s_j| / (|λ_i − λ_j| − δ), τ_i = √(λ_i + δ), over all pairs with different factors.

    Neighbours are enough. Between i and j, λ_i ≥ λ_j, with different factors there are neighbours p and p + 1 with
    different factors, and of both ends τ_i is larger: τ_i / (λ_i − λ_j) ≤ 1 / (τ_i − τ_j) ≤ 1 / (τ_p − τ_p+1) =
    (τ_p + τ_p+1) / (λ_p − λ_p+1). As x / (x − δ) falls with x, the same holds with δ taken off both denominators.

    Args:
        squares: λ of consecutive directions, descending, not negative: those that are edited and one on each side.
        factors: s of each.
        error: δ.

    Returns:
        Infinity where a gap between different factors is no larger than δ.
    """
    values = (squares + error).sqrt()
    gaps = squares[:-1] - squares[1:] - error
    steps = (factors[:-1] - factors[1:]).abs()
    apart = steps > 0
    if not bool(apart.any()):
        return 0.0
    if bool((gaps[apart] <= 0).any()):
        return math.inf
    span = float((factors.max() - factors.min()).abs())
    return float(((values[:-1] + values[1:])[apart] / gaps[apart]).max()) * span


def _check(values: torch.Tensor, start: int, shape: Sequence[int], norm: float, directions: Directions) -> None:
    """Refuse directions that are not told apart, or have other singular values than expected.

    Args:
        values: singular values from number ``start`` on.
        start: of the first of ``values``.
        shape: of the block.
        norm: ‖W‖_F of the block.
        directions: those that are asked for.
    """
    factors = dict(zip(directions.index, directions.scale, strict=True))
    for place in inseparable(values, shape, norm).nonzero().flatten().tolist():
        one, other = start + place, start + place + 1
        if factors.get(one, 1.0) != factors.get(other, 1.0):
            raise EditError(
                f"index: the singular values {one} and {other}, {float(values[place]):.9g} and "
                f"{float(values[place + 1]):.9g}, are too close to tell their directions apart; "
                "only an edit that gives both the same factor can be applied"
            )
    if directions.sigma is None:
        return
    error = squares_error(shape, norm**2)
    for index, expected in zip(directions.index, directions.sigma, strict=True):
        found = float(values[index - start])
        squaring = 2 * error / max(found, math.sqrt(error)) if error > 0 else 0.0
        if abs(found - expected) > SAME_SIGMA * (expected + norm / 100) + squaring:
            raise EditError(
                f"sigma: the edit was made where singular value {index} is {expected:.9g}, here it is "
                f"{found:.9g}: another base, or one in another dtype"
            )
