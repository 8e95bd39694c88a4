"""A few leading eigenvectors of a large symmetric matrix by block Lanczos, and a test that none was missed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

BLOCK = 8
"""Vectors that a step adds to the basis. With fewer, the same accuracy takes a smaller basis and more passes over the
matrix, which take most of the time (measured at 4096 on two cores: 4 to 32)."""

GROWTH = 1.5
"""How much larger, at most, the basis is at the next test of its Ritz vectors; a test takes an eigendecomposition."""

PANEL = 256
"""Columns that are mirrored at once."""

MOST = 0.3
"""The largest basis, as a share of the matrix's size. With a larger one, LAPACK's solver takes no longer."""


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
    """The ``rank`` = j leading eigenvectors of a symmetric matrix A, if they can be had as accurately as is asked for.

    A block Lanczos iteration with full reorthogonalization (Golub and Van Loan, Matrix Computations, section 10.3)
    gives j Ritz vectors V of a growing Krylov space. Its next Ritz value, which is near the first of the other
    eigenvalues, sets μ halfway between that and the smallest of the j. The result does not rest on the iteration: V is
    made orthonormal once more, its residual is computed from A, and `none_missed` tests μ.

    Deterministic: the start is drawn from a generator with a fixed seed.

    Args:
        lower: (n, n) float64, of which only the lower triangle is read. The upper one is overwritten by its mirror.
        rank: 1 ≤ j < n. Meant for a small share of n; see `MOST`.
        accurate: whether what a `Cut` says is accurate enough. It must be false where μ is not below the smallest
            eigenvalue of Θ.

    Returns:
        (n, j) float64, orthonormal columns. They span the invariant subspace of the j largest eigenvalues of A' (see
        `Cut`). None where the cut is not accurate enough with a basis of the size `MOST`, as for eigenvalues that tie
        at the cut, or where an eigenvector may have been missed, as for an eigenvalue with more than `BLOCK` of them.
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
        # Rounding may have cost the basis some of its orthogonality.
        vectors = _orthonormal(found)
        projected, cut = cut_by(matrix, vectors, beyond)
        if accurate(cut):
            return vectors.mT if none_missed(matrix, vectors, projected, cut) else None
        size = min(_next_size(len(krylov), cut, former, accurate), krylov.room)
        former = len(krylov), cut.error
    return None


def none_missed(matrix: torch.Tensor, vectors: torch.Tensor, projected: torch.Tensor, cut: Cut) -> bool:
    """Whether all eigenvalues of A' (see `Cut`) but those of Θ are below μ, by a Cholesky factorization.

    If μI - A + VΘVᵀ is positive definite, then xᵀAx < μ xᵀx for every x ≠ 0 with Vᵀx = 0, and for these x,
    xᵀA'x = xᵀAx.

    Args:
        matrix: A, (n, n) float64, both triangles.
        vectors: Vᵀ, (j, n) float64, orthonormal rows.
        projected: Θ, (j, j) float64.
        cut: what these say about the eigenvalues of A.
    """
    largest = max(abs(cut.largest), abs(cut.below))
    left, right = vectors.mT @ (projected / largest), vectors
    # Float32 takes half the time, and is enough for a wide gap. A GPU may compute with fewer bits than that.
    for dtype in (torch.float64,) if matrix.is_cuda else (torch.float32, torch.float64):
        # Scaled, so that squares that leave the range of float32 do not.
        shifted = torch.mul(matrix, -1 / largest, out=torch.empty_like(matrix, dtype=dtype))
        if _positive_definite(shifted.addmm_(left.to(dtype), right.to(dtype)), cut.below / largest):
            return True
    return False


def _positive_definite(matrix: torch.Tensor, shift: float) -> bool:
    """Whether ``matrix`` + ``shift`` I is certain to be positive definite. Its norm is about 1; it is overwritten.

    4 √n units in the last place are subtracted for the rounding errors of the factorization. On random, positive,
    graded and nearly deficient matrices of 64 to 2048, none passed whose smallest eigenvalue was below an eighth of a
    unit.
    """
    rounding = 4 * math.sqrt(len(matrix)) * torch.finfo(matrix.dtype).eps
    matrix.diagonal().add_(shift - rounding)
    return int(torch.linalg.cholesky_ex(matrix).info) == 0


def _mirrored(lower: torch.Tensor) -> torch.Tensor:
    """``lower`` itself, with its upper triangle overwritten by the mirror image of the lower one."""
    # By panels: transposing all at once takes four times as long.
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
        """Add blocks until there are ``size`` vectors or no room for another block."""
        while self._size < min(size, self.room):
            self._grow()

    def _grow(self) -> None:
        former, size = max(self._size - BLOCK, 0), self._size + BLOCK
        self._basis[self._size : size] = self._next
        # Of all ways to write this product, BLAS takes the least time for this: vectors in rows, the matrix transposed.
        images = self._next @ self._matrix.mT
        # But for rounding, A times the last block is orthogonal to all blocks but the last two.
        near = self._basis[former:size]
        overlap = near @ images.mT
        self._projected[former:size, self._size : size] = overlap
        self._projected[self._size : size, former:size] = overlap.mT
        images = _orthonormal(images - overlap.mT @ near)
        # Rounding errors grow along eigenvectors that have converged, so that all blocks are projected out.
        basis = self._basis[:size]
        self._next = _orthonormal(images - (images @ basis.mT) @ basis)
        self._size = size

    def leading(self, rank: int) -> tuple[torch.Tensor, float]:
        """The ``rank`` leading Ritz vectors (rows, not quite orthonormal), and the first Ritz value after theirs."""
        values, vectors = torch.linalg.eigh(self._projected[: self._size, : self._size])
        return vectors[:, -rank:].mT @ self._basis[: self._size], float(values[-rank - 1])


def cut_by(matrix: torch.Tensor, vectors: torch.Tensor, beyond: float) -> tuple[torch.Tensor, Cut]:
    """Θ (j, j), and the `Cut` that Vᵀ = ``vectors`` (j, n) gives.

    Args:
        matrix: A, (n, n) float64, both triangles.
        vectors: Vᵀ, orthonormal rows.
        beyond: an estimate of the largest of the other eigenvalues of A; μ is halfway between it and Θ's smallest.
    """
    images = vectors @ matrix.mT
    projected = vectors @ images.mT
    projected = (projected + projected.mT) / 2
    values = torch.linalg.eigvalsh(projected)
    above = float(values[0])
    error = float(torch.linalg.matrix_norm(images - projected @ vectors))
    return projected, Cut(len(values), float(values[-1]), above, (above + beyond) / 2, float(values.sum()), error)


def _next_size(size: int, cut: Cut, former: tuple[int, float] | None, accurate: Callable[[Cut], bool]) -> int:
    """The size of the basis for the next test: at most `GROWTH` times ``size``.

    It is less where the error, falling as it did since ``former`` (size and error at the last test), will be small
    enough sooner.
    """
    largest = math.ceil(GROWTH * size)
    if former is None or not former[1]:
        return largest
    fall = cut.error / former[1]
    for wanted in range(size + BLOCK, largest, BLOCK):
        error = cut.error * fall ** ((wanted - size) / (size - former[0]))
        if accurate(dataclasses.replace(cut, error=error)):
            return wanted
    return largest


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """As many orthonormal rows, whose span contains that of ``rows``."""
    columns: torch.Tensor = torch.linalg.qr(rows.mT)[0]
    return columns.mT.contiguous()
