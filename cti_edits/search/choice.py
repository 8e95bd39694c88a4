"""Which candidate wins, and which need not be evaluated to the end. Knows outcomes, and nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NotFiniteError, StopRule
from cti_edits.plugins import errors_name_provider
from cti_edits.search.candidates import Candidate
from cti_edits.search.outcome import Outcome
from cti_edits.search.selectors import Selector

Evaluate = Callable[[StopRule | None], Outcome | None]
"""Evaluates one candidate; None where it was stopped. Raises a NotFiniteError where the model breaks with it."""

Passes = Callable[[Collection[Candidate]], Iterator[tuple[Candidate, Evaluate]]]
"""Goes through the candidates that are asked for, in the order in which they are cheapest to evaluate."""


class RefusedError(EditError):
    """A candidate may not win, whatever its figures."""


@dataclass(frozen=True)
class Choice:
    """What came of a set of candidates.

    Attributes:
        outcomes: the candidates that were evaluated to the end, in their own order.
        stopped: those that were not, since they cannot win whatever the rest of their examples give.
        best: the winner; the unedited model if nothing beat it.
        failed: those with which a loss is not finite, or that were refused, and why. They never win.
    """

    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome
    failed: Mapping[Candidate, str] = field(default_factory=dict)


def choose(
    unedited: Outcome,
    candidates: Sequence[Candidate],
    passes: Passes,
    as_applied: Callable[[Outcome], Outcome],
    exact_stop: bool,
    selector: Selector,
) -> Choice:
    """Evaluate candidates until the winner is settled. It is the same with and without ``exact_stop``.

    The leader is measured again with the weight that is applied, and may fall behind by that. What was stopped against
    its former figures may then win after all, so that before each such step every stopped candidate is checked against
    the leader as it stands, and evaluated further where it is not provably worse.

    Args:
        unedited: the outcome of the unedited model.
        candidates: in the order in which the first of equals wins.
        passes: how they are evaluated.
        as_applied: an outcome measured again with the weight that is applied. Raises a RefusedError where that may
            not win.
        exact_stop: whether candidates that provably cannot win are stopped.
        selector: says which outcome wins, and which candidates cannot.

    Raises:
        EditError: a plugin's selector fails, or chooses what is no outcome.
    """
    cannot_win = selector.cannot_win if exact_stop else None

    def may_win(candidate: Candidate) -> bool:
        """Whether one that was stopped might still."""
        return cannot_win is None or not cannot_win(best, *reached[candidate])

    def still_wanted() -> list[Candidate]:
        return [one for one in candidates if one not in found and one not in failed and may_win(one)]

    found: dict[Candidate, Outcome] = {}
    failed: dict[Candidate, str] = {}
    reached: dict[Candidate, tuple[int, float]] = {}
    wanted: Collection[Candidate] = list(candidates)
    applied: set[Candidate | None] = {None}
    while True:
        best = _leader(selector, unedited, candidates, found)
        for candidate, evaluate in passes(wanted) if wanted else ():
            try:
                outcome = evaluate(None if cannot_win is None else _stop(candidate, best, reached, cannot_win))
            except NotFiniteError as error:
                failed[candidate] = str(error)
                continue
            if outcome is not None:
                found[candidate] = outcome
                if cannot_win is not None:
                    best = chosen_by(selector, [best, outcome])
        best = _leader(selector, unedited, candidates, found)
        wanted = still_wanted()
        if wanted:
            continue
        if best.candidate in applied:
            break
        applied.add(best.candidate)
        if best.candidate is not None:
            try:
                found[best.candidate] = as_applied(best)
            except (NotFiniteError, RefusedError) as error:
                del found[best.candidate]
                failed[best.candidate] = str(error)
        best = _leader(selector, unedited, candidates, found)
        wanted = still_wanted()
    return Choice(
        tuple(found[one] for one in candidates if one in found),
        tuple(one for one in candidates if one not in found and one not in failed),
        best,
        failed,
    )


def _leader(
    selector: Selector, unedited: Outcome, candidates: Sequence[Candidate], found: dict[Candidate, Outcome]
) -> Outcome:
    return chosen_by(selector, [unedited, *(found[one] for one in candidates if one in found)]) if found else unedited


def chosen_by(selector: Selector, outcomes: list[Outcome]) -> Outcome:
    """The one that a selector says wins; the first is the unedited model's.

    Raises:
        EditError: a plugin's selector fails, or chooses what is no outcome.
    """
    with errors_name_provider("selectors", Selector, selector.name):
        chosen = selector.winner(outcomes)
        if chosen not in outcomes:
            raise ValueError("expected the winner to be one of the outcomes that it was given")
    return chosen


def _stop(
    candidate: Candidate,
    best: Outcome,
    reached: dict[Candidate, tuple[int, float]],
    cannot_win: Callable[[Outcome, int, float], bool],
) -> StopRule:
    """Stops against ``best``, and notes how far the candidate came."""

    def stop(wrong: int, loss: float) -> bool:
        reached[candidate] = wrong, loss
        return cannot_win(best, wrong, loss)

    return stop
