"""The best few candidates again, on calibration rows that have not chosen them, before the winner is chosen.

The best of many on the rows that chose it looks better than it is. On fresh rows, the unedited model and a few
candidates stand side by side with no such advantage but that of the best of a few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.artifact.records import Measurement
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.evaluation import NotFiniteError
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.progress import Progress
from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.session import Session
from cti_edits.search.candidates import Candidate
from cti_edits.search.choice import RefusedError, chosen_by
from cti_edits.search.evaluate import EvaluatedCandidates, evaluate, evaluated_trial
from cti_edits.search.guard import KlLimit
from cti_edits.search.measure import compared
from cti_edits.search.outcome import Outcome
from cti_edits.search.selectors import find_selector
from cti_edits.search.trials import Trial, Trials, applied_trial


@dataclass(frozen=True)
class Confirmation:
    """What the fresh rows gave.

    Attributes:
        again: the unedited model and the best candidates on the fresh rows.
        measurement: the unedited model and the winner there.
    """

    again: EvaluatedCandidates
    measurement: Measurement


@dataclass(frozen=True)
class _Shortlist:
    """Some of the candidates; see `trials.Trials`."""

    all: Trials
    candidates: Sequence[Candidate]

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        return self.all.trials(wanted)

    def as_applied(self, candidate: Candidate) -> Trial | None:
        return self.all.as_applied(candidate)

    def matrix_edits(self, candidate: Candidate, checkpoint: AnyCheckpoint | None) -> tuple[MatrixEdit, ...]:
        return self.all.matrix_edits(candidate, checkpoint)


def confirm(
    session: Session,
    evaluator: Evaluator,
    calibration: CalibrationSet,
    fresh: CalibrationSet,
    trials: Trials,
    evaluated: EvaluatedCandidates,
    count: int,
    progress: Progress,
    selector: str,
    limit: KlLimit | None = None,
) -> tuple[EvaluatedCandidates, Confirmation | None]:
    """Choose again, by fresh rows alone, among the unedited model and the best ``count`` candidates that beat it.

    Args:
        session: of the unedited model.
        evaluator: of the calibration rows, which every candidate was evaluated with.
        calibration: the calibration rows.
        fresh: rows that are none of them.
        trials: the candidates, and their weights.
        evaluated: what the calibration rows gave, of every candidate.
        count: how many are compared again, at most.
        progress: told about it.
        selector: what says which outcome wins, on either rows.
        limit: how far the winner may move the predictions of other text.

    Returns:
        ``evaluated`` with the winner that the fresh rows chose, on the calibration rows; and what they gave. None where
        no candidate beat the unedited model.

    Raises:
        EditError: see `evaluate.evaluate`.
    """
    best, refused = _best(trials, evaluated, count, selector, limit)
    for why in refused.values():
        progress.note(f"loses: {why}")
    again = None
    if best:
        shortlist = _Shortlist(trials, [one.candidate for one in best if one.candidate is not None])
        again = evaluate(
            session,
            session.evaluator(fresh),
            shortlist,
            exact_stop=False,
            progress=progress,
            selector=selector,
            gold=fresh.gold_index,
            limit=limit,
            phase="confirmation",
        )
    failed = {**refused, **dict.fromkeys(again.failed if again else (), "")}
    winner = evaluated.unedited
    if again is not None and again.best.candidate is not None:
        (winner,) = [one for one in best if one.candidate == again.best.candidate]
        trial = None if winner == evaluated.best else trials.as_applied(again.best.candidate)
        if trial is not None:
            winner = evaluated_trial(session, evaluator.evaluate, trial, calibration.gold_index) or winner
    found = dataclasses.replace(
        evaluated,
        best=winner,
        outcomes=tuple(one for one in evaluated.outcomes if one.candidate not in failed),
        failed=(*evaluated.failed, *failed),
    )
    if again is None:
        return found, None
    return found, Confirmation(again, compared(fresh, again.unedited, again.best))


def _best(
    trials: Trials, evaluated: EvaluatedCandidates, count: int, selector: str, limit: KlLimit | None
) -> tuple[list[Outcome], dict[Candidate, str]]:
    """The best that beat the unedited model, best first, and those of them that are not allowed, and why."""
    chooses, left = find_selector(selector), list(evaluated.outcomes)
    found: list[Outcome] = []
    refused: dict[Candidate, str] = {}
    while left and len(found) < count:
        best = chosen_by(chooses, [evaluated.unedited, *left])
        if best.candidate is None:
            break
        left.remove(best)
        try:
            if limit is not None:
                limit.check(best.candidate, applied_trial(trials, best.candidate).weights)
        except (NotFiniteError, RefusedError) as error:
            refused[best.candidate] = str(error)
            continue
        found.append(best)
    return found, refused
