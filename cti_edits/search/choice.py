"""Which candidate wins, and which need not be evaluated to the end. Knows outcomes, and nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from cti_edits.harness.evaluation import StopRule
from cti_edits.search.candidates import Candidate
from cti_edits.search.outcome import Outcome, cannot_win, winner

Evaluate = Callable[[StopRule | None], Outcome | None]
"""Evaluates one candidate; None where it was stopped."""

Passes = Callable[[Collection[Candidate]], Iterator[tuple[Candidate, Evaluate]]]
"""Goes through the candidates that are asked for, in the order in which they are cheapest to evaluate."""


@dataclass(frozen=True)
class Choice:
    """What came of a set of candidates.

    Attributes:
        outcomes: the candidates that were evaluated to the end, in their own order.
        stopped: those that were not, since they cannot win whatever the rest of their examples give.
        best: the winner; the unedited model if nothing beat it.
    """

    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome


def choose(
    unedited: Outcome,
    candidates: Sequence[Candidate],
    passes: Passes,
    as_applied: Callable[[Outcome], Outcome],
    exact_stop: bool,
) -> Choice:
    """Evaluate candidates until the winner is settled. It is the same with and without ``exact_stop``.

    The leader is measured again with the weight that is applied, and may fall behind by that. What was stopped against
    its former figures may then win after all, so that before each such step every stopped candidate is checked against
    the leader as it stands, and evaluated further where it is not provably worse.

    Args:
        unedited: the outcome of the unedited model.
        candidates: in the order in which the first of equals wins.
        passes: how they are evaluated.
        as_applied: an outcome measured again with the weight that is applied.
        exact_stop: whether candidates that provably cannot win are stopped.
    """
    found: dict[Candidate, Outcome] = {}
    reached: dict[Candidate, tuple[int, float]] = {}
    wanted: Collection[Candidate] = list(candidates)
    applied: set[Candidate | None] = {None}
    while True:
        best = _leader(unedited, candidates, found)
        for candidate, evaluate in passes(wanted) if wanted else ():
            outcome = evaluate(_stop(candidate, best, reached) if exact_stop else None)
            if outcome is not None:
                found[candidate] = outcome
                best = winner([best, outcome])
        best = _leader(unedited, candidates, found)
        wanted = [one for one in candidates if one not in found and not cannot_win(best, *reached[one])]
        if wanted:
            continue
        if best.candidate in applied:
            break
        applied.add(best.candidate)
        if best.candidate is not None:
            found[best.candidate] = as_applied(best)
        best = _leader(unedited, candidates, found)
        wanted = [one for one in candidates if one not in found and not cannot_win(best, *reached[one])]
    return Choice(
        tuple(found[one] for one in candidates if one in found),
        tuple(one for one in candidates if one not in found),
        best,
    )


def _leader(unedited: Outcome, candidates: Sequence[Candidate], found: dict[Candidate, Outcome]) -> Outcome:
    return winner([unedited, *(found[one] for one in candidates if one in found)])


def _stop(candidate: Candidate, best: Outcome, reached: dict[Candidate, tuple[int, float]]) -> StopRule:
    """Stops against ``best``, and notes how far the candidate came."""

    def stop(wrong: int, loss: float) -> bool:
        reached[candidate] = wrong, loss
        return cannot_win(best, wrong, loss)

    return stop
