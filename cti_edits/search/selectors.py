"""Ways to say which matrices are tried, by their scores, and which outcome wins. No torch here.

`Selector` is what a plugin's hook ``selectors`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cti_edits.harness.metrics import BALANCED, NLL
from cti_edits.plugins import errors_name_provider, find_part
from cti_edits.search.candidates import MatrixId
from cti_edits.search.outcome import (
    Outcome,
    best_balanced,
    cannot_be_likeliest,
    cannot_win,
    least_change,
    likeliest,
    winner,
)
from cti_edits.search.scores import keep_best

BEST = "best"

Scores = Mapping[int, Mapping[MatrixId, float]]
"""For each K, the score of every matrix."""


def best_of_each(scores: Scores, top_q: int) -> Mapping[int, Sequence[MatrixId]]:
    """For each K, the ``top_q`` matrices with the lowest scores."""
    return {clusters: keep_best(found, top_q) for clusters, found in scores.items()}


@dataclass(frozen=True)
class Selector:
    """A way to choose.

    Attributes:
        name: what it is asked for by.
        summary: what it is, in a line.
        keep: for each K, the matrices that are tried with it, from all scores and top_q. It is not asked where every
            matrix is tried.
        winner: one of the outcomes; the first is the unedited model's, and to choose that is to leave the model as it
            is.
        cannot_win: whether a candidate loses against an outcome whatever the rest of its examples give, from that
            outcome, the number of examples that are wrong so far, and the sum of their losses. None where that cannot
            be said; every candidate is then evaluated to the end.
        of_labels: whether it is for tasks that have the same labels for every example, and for those alone.
    """

    name: str
    summary: str
    keep: Callable[[Scores, int], Mapping[int, Sequence[MatrixId]]] = best_of_each
    winner: Callable[[Sequence[Outcome]], Outcome] = winner
    cannot_win: Callable[[Outcome, int, float], bool] | None = None
    of_labels: bool = False


def find_selector(name: str) -> Selector:
    """The selector ``name``, built in or a plugin's.

    Raises:
        EditError: there is none, or there are two.
    """
    return find_part("selectors", Selector, name)


def kept_matrices(scores: Scores, top_q: int, selector: str = BEST) -> Mapping[int, Sequence[MatrixId]]:
    """For each K, the matrices that the selector keeps.

    Raises:
        EditError: a plugin's selector fails, or keeps a matrix that has no score, or none at all.
    """
    with errors_name_provider("selectors", Selector, selector):
        kept = {clusters: list(targets) for clusters, targets in find_selector(selector).keep(scores, top_q).items()}
        for clusters, targets in kept.items():
            if clusters not in scores or not set(targets) <= set(scores[clusters]):
                raise ValueError(f"it keeps a matrix at K = {clusters} that has no score")
            if len(set(targets)) != len(targets):
                raise ValueError(f"it keeps a matrix twice at K = {clusters}")
        if not any(kept.values()):
            raise ValueError("it keeps no matrix")
    return kept


SELECTORS = (
    Selector(
        BEST,
        "the lowest scores of each K; accuracy, then the gold answer's NLL, then fewer parameters",
        cannot_win=cannot_win,
    ),
    Selector(
        "one-standard-error",
        "of those within a standard error of the best, the unedited model, else the one that changes least",
        winner=least_change,
    ),
    Selector(NLL, "the lowest NLL of the gold answers", winner=likeliest, cannot_win=cannot_be_likeliest),
    Selector(BALANCED, "the best balanced accuracy, of tasks with fixed labels", winner=best_balanced, of_labels=True),
)
"""Those that come with cti-edits."""
