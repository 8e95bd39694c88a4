"""Why a search tried what it tried: what it knows of every matrix before a candidate is evaluated. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.search.candidates import Candidate


@dataclass(frozen=True)
class MatrixScore:
    """What a matrix was chosen by.

    Attributes:
        target: the matrix.
        clusters: K, with which it was scored.
        score: the lowest are tried.
        kept: whether it is one of those that `Explanation.kept_for` tells of.
    """

    target: MatrixId
    clusters: int
    score: float
    kept: bool


@dataclass(frozen=True)
class MatrixGradients:
    """The singular values of a matrix that a search looked at, and the gradient of the loss by each.

    Attributes:
        target: the matrix.
        clusters: K, the row blocks that it is cut into.
        sigma: σ_i of all blocks.
        gradient: g_i, likewise.
        changed: whether the winner changes that singular value, likewise.
    """

    target: MatrixId
    clusters: int
    sigma: tuple[float, ...]
    gradient: tuple[float, ...]
    changed: tuple[bool, ...]


@dataclass(frozen=True)
class Explanation:
    """What a search knows beside the figures of its candidates.

    Attributes:
        scored_by: what the scores are, in words.
        kept_for: what the matrices that are kept are, in words.
        scores: of every matrix at every K; none where nothing is scored.
        gradients: of one matrix, the winner's or the one that comes first.
    """

    scored_by: str = ""
    kept_for: str = ""
    scores: tuple[MatrixScore, ...] = ()
    gradients: MatrixGradients | None = None


NOT_EXPLAINED = Explanation()
"""Of a method that says nothing of itself."""


@runtime_checkable
class Explained(Protocol):
    """Trials of a method that says why."""

    def explanation(self, best: Candidate | None) -> Explanation:
        """Why these were tried.

        Args:
            best: the winner; None for the unedited model.
        """


def explanation_of(trials: object, best: Candidate | None) -> Explanation:
    """What the trials of a search say of themselves; nothing where their method does not."""
    return trials.explanation(best) if isinstance(trials, Explained) else NOT_EXPLAINED
