"""Stage 3: the candidates, every ρ of each kept (matrix, K)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class MatrixId:
    """A matrix of a model by layer and role."""

    layer: int
    matrix: str


@dataclass(frozen=True)
class Candidate:
    """One edit that is tried: (matrix, layer, K, ρ)."""

    target: MatrixId
    clusters: int
    rho: float


Group = tuple[MatrixId, int, list[Candidate]]
"""Candidates that share a matrix and K, and so one decomposition."""


def candidates(kept: Mapping[int, Sequence[MatrixId]], rates: Sequence[float]) -> list[Group]:
    """The candidates in groups that share one decomposition: (matrix, K) and every ρ.

    Args:
        kept: for each K, the matrices that are tried with it.
        rates: the ρ.
    """
    return [
        (target, clusters, [Candidate(target, clusters, rho) for rho in rates])
        for clusters, targets in kept.items()
        for target in targets
    ]
