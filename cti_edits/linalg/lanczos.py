"""A few leading eigenvectors of a big symmetric matrix, and a test that none was missed. Tensors only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

BLOCK = 8
"""Vectors that the basis grows by at once. Fewer reach the same accuracy with a smaller basis and more passes over the
matrix, which take the time (measured at 4096 on two cores: 4 to 32)."""

GROWTH = 1.5
"""How much bigger, at most, the basis is at the next look at what it holds: each look takes an eigendecomposition."""

PANEL = 256
"""Columns that are mirrored at once."""

MOST = 0.3
"""The biggest basis, as a share of the matrix's size. Beyond that LAPACK's solver does not take longer."""


@dataclass(frozen=True)
class Cut:
    """What an orthonormal V (n, j) says about the eigenvalues of a symmetric A on both sides of the j-th.

    Let Θ = VᵀAV and R = AV - VΘ, so that VᵀR = 0. Then V spans an invariant subspace of A' = A - RVᵀ - VRᵀ, with the
    eigenvalues of Θ. As the ranges of V and R are orthogonal, ‖A' - A‖₂ = ‖R‖₂.

    Attributes:
        rank: j.
        largest: the largest eigenvalue of Θ.
        above: the smallest.
        below: μ < ``above``. If `none_missed`, all n - j other eigenvalues of A' are below it.
        kept: Σ of the eigenvalues of Θ.
        error: ‖R‖_F ≥ ‖R‖₂.
    """

    rank: int
    largest: float
    above: float
    below: float
    kept: float
    error: float


def leading_eigenvectors(lower: torch.Tensor, rank: int, accurate: Callable[[Cut], bool]) -> torch.Tensor | None:
    """The ``rank`` = j leading eigenvectors of a symmetric matrix A, as accurate as is asked for, or None.

    By a block Lanczos iteration that keeps its whole basis orthonormal (Golub and Van Loan, Matrix Computations,
    section 10.3): j Ritz vectors of a growing Krylov space are V, and its next Ritz value, which tells where
    the other eigenvalues begin, sets μ halfway between. Whatever the iteration did, V is made orthonormal once more and
    its residual is computed from A, and `none_missed` tests μ: that V is good does not rest on the iteration.

    What comes back is the same each time: the start is drawn from a generator of its own.

    Args:
        lower: (n, n) float64, of which only the lower triangle is read. The other is filled in with its mirror image.
        rank: 1 ≤ j < n. Meant for a small share of n; see `MOST`.
        accurate: whether a `Cut`, taken as true, is good enough. One whose μ is not below the smallest eigenvalue of Θ
            never is.

    Returns:
        (n, j) float64 with orthonormal columns that span the invariant subspace of j eigenvalues of A', and A' has no
        others as large, as `Cut` has it; None where the cut is not accurate enough before the basis reaches `MOST`, as
        with eigenvalues that tie there, or where an eigenvector may have been missed, as happens with more than `BLOCK`
        for one eigenvalue.
    """
    matrix = _mirrored(lower)
    krylov = _Krylov(matrix, int(MOST * len(matrix)))
    former: tuple[int, float] | None = None
    size = max(4 * rank, rank + BLOCK)
    while size > len(krylov):
        krylov.grow_to(size)
        if len(krylov) <= rank:
            break
        found, beyond = krylov.leading(rank)
        # The basis may have lost some of its orthogonality.
        vectors = _orthonormal(found)
        projected, cut = cut_by(matrix, vectors, beyond)
        if accurate(cut):
            return vectors.mT if none_missed(matrix, vectors, projected, cut) else None
        size = min(_next_size(len(krylov), cut, former, accurate), krylov.room)
        former = len(krylov), cut.error
    return None


def none_missed(matrix: torch.Tensor, vectors: torch.Tensor, projected: torch.Tensor, cut: Cut) -> bool:
    """Whether all eigenvalues of A' (see `Cut`) but those of Θ are below μ, by one Cholesky factorisation.

    If μI - A + VΘVᵀ is positive definite, then xᵀAx < μ xᵀx for every x ≠ 0 with Vᵀx = 0. On these x, A' is A projected
    on them.

    Args:
        matrix: A, (n, n) float64, both triangles.
        vectors: Vᵀ, (j, n) float64, orthonormal rows.
        projected: Θ, (j, j) float64.
        cut: of these.
    """
    largest = max(abs(cut.largest), abs(cut.below))
    left, right = vectors.mT @ (projected / largest), vectors
    # Float32 takes half the time, and will do for a gap that is wide enough. A GPU may round it to fewer bits.
    for dtype in (torch.float64,) if matrix.is_cuda else (torch.float32, torch.float64):
        # Scaled, so that squares that leave the range of float32 do not.
        shifted = torch.mul(matrix, -1 / largest, out=torch.empty_like(matrix, dtype=dtype))
        if _positive_definite(shifted.addmm_(left.to(dtype), right.to(dtype)), cut.below / largest):
            return True
    return False


def _positive_definite(matrix: torch.Tensor, shift: float) -> bool:
    """Whether ``matrix`` + ``shift`` I, which overwrites it, is known to be positive definite; its norm is about 1.

    What is factorised is off by rounding errors: 4 √n units are allowed for them. On random, positive, graded and
    nearly deficient matrices of 64 to 2048 none went through whose smallest eigenvalue was below an eighth of a unit.
    """
    rounding = 4 * math.sqrt(len(matrix)) * torch.finfo(matrix.dtype).eps
    matrix.diagonal().add_(shift - rounding)
    return int(torch.linalg.cholesky_ex(matrix).info) == 0


def _mirrored(lower: torch.Tensor) -> torch.Tensor:
    """``lower`` itself, its upper triangle overwritten."""
    # By panels: a transpose of the whole takes four times as long.
    for start in range(0, len(lower), PANEL):
        stop = start + PANEL
        corner = lower[start:stop, start:stop]
        corner.copy_(corner.tril() + corner.tril(-1).mT)
        lower[start:stop, stop:] = lower[stop:, start:stop].mT
    return lower


class _Krylov:
    """An orthonormal basis of a growing block Krylov space of a symmetric matrix, from a random start."""

    def __init__(self, matrix: torch.Tensor, most: int) -> None:
        size = len(matrix)
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(BLOCK, size, generator=generator, dtype=torch.float64)
        self._matrix = matrix
        self._basis = torch.empty(most, size, dtype=torch.float64, device=matrix.device)
        self._projected = torch.zeros(most, most, dtype=torch.float64, device=matrix.device)
        self._next = _orthonormal(start.to(matrix.device))
        self._size = 0
        self.room = most // BLOCK * BLOCK

    def __len__(self) -> int:
        return self._size

    def grow_to(self, size: int) -> None:
        """To ``size`` vectors or up to `BLOCK` - 1 more, or to as many as there is room for."""
        while self._size < min(size, self.room):
            self._grow()

    def _grow(self) -> None:
        former, size = max(self._size - BLOCK, 0), self._size + BLOCK
        self._basis[self._size : size] = self._next
        # Vectors lie in rows, and the matrix is symmetric: BLAS takes the least time for this product of all.
        images = self._next @ self._matrix.mT
        # But for rounding, A times a block is orthogonal to all blocks before the last but one.
        near = self._basis[former:size]
        overlap = near @ images.mT
        self._projected[former:size, self._size : size] = overlap
        self._projected[self._size : size, former:size] = overlap.mT
        images = _orthonormal(images - overlap.mT @ near)
        # Rounding errors grow along the eigenvectors that have been found.
        known = self._basis[:size]
        self._next = _orthonormal(images - (images @ known.mT) @ known)
        self._size = size

    def leading(self, rank: int) -> tuple[torch.Tensor, float]:
        """The ``rank`` leading Ritz vectors (rows, not quite orthonormal), and the first Ritz value after theirs."""
        values, vectors = torch.linalg.eigh(self._projected[: self._size, : self._size])
        return vectors[:, -rank:].mT @ self._basis[: self._size], float(values[-rank - 1])


def cut_by(matrix: torch.Tensor, vectors: torch.Tensor, beyond: float) -> tuple[torch.Tensor, Cut]:
    """Θ of Vᵀ = ``vectors``, and its `Cut` with μ halfway from the eigenvalue after it, thought ``beyond``."""
    images = vectors @ matrix.mT
    projected = vectors @ images.mT
    projected = (projected + projected.mT) / 2
    values = torch.linalg.eigvalsh(projected)
    above = float(values[0])
    error = float(torch.linalg.matrix_norm(images - projected @ vectors))
    return projected, Cut(len(values), float(values[-1]), above, (above + beyond) / 2, float(values.sum()), error)


def _next_size(size: int, cut: Cut, former: tuple[int, float] | None, accurate: Callable[[Cut], bool]) -> int:
    """The least size that will do if the error goes on falling as it did from the former, (size, error) too."""
    latest = math.ceil(GROWTH * size)
    if former is None or not former[1]:
        return latest
    fall = cut.error / former[1]
    for wanted in range(size + BLOCK, latest, BLOCK):
        error = cut.error * fall ** ((wanted - size) / (size - former[0]))
        if accurate(dataclasses.replace(cut, error=error)):
            return wanted
    return latest


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows with the same span, or with more than it where ``rows`` are dependent."""
    columns: torch.Tensor = torch.linalg.qr(rows.mT)[0]
    return columns.mT.contiguous()
