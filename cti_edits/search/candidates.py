"""Stage 3: the candidates, edits that a search tries. Those of rank cuts are every ρ of each kept (matrix, K)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cti_edits.artifact.matrix_id import MatrixId

__all__ = ("Candidate", "Group", "MatrixId", "RankCut", "candidates")


@dataclass(frozen=True)
class Candidate:
    """One edit that is tried. A subclass has the fields that tell it from others."""

    def __str__(self) -> str:
        """What it is, as a description of an edit says it."""
        raise NotImplementedError

    def cells(self) -> Mapping[str, str]:
        """From heading to text, for a table of candidates."""
        raise NotImplementedError


@dataclass(frozen=True)
class RankCut(Candidate):
    """A rank cut of one matrix: (matrix, layer, K, ρ)."""

    target: MatrixId
    clusters: int
    rho: float

    def __str__(self) -> str:
        return f"{self.target} at ρ = {self.rho:g}, K = {self.clusters}"

    def cells(self) -> Mapping[str, str]:
        """See `Candidate.cells`."""
        where = {"matrix": self.target.matrix, "layer": self.target.place}
        return {**where, "K": str(self.clusters), "ρ": f"{self.rho:g}"}


@dataclass(frozen=True)
class Group:
    """Rank cuts that share a matrix and K, and so one decomposition."""

    target: MatrixId
    clusters: int
    members: Sequence[RankCut]

    def __iter__(self) -> Iterator[RankCut]:
        return iter(self.members)


def candidates(kept: Mapping[int, Sequence[MatrixId]], rates: Sequence[float]) -> list[Group]:
    """The candidates in groups that share one decomposition: (matrix, K) and every ρ.

    Args:
        kept: for each K, the matrices that are tried with it.
        rates: the ρ.
    """
    return [
        Group(target, clusters, [RankCut(target, clusters, rho) for rho in rates])
        for clusters, targets in kept.items()
        for target in targets
    ]
