"""What a search knows and a manifest does not say: what its page shows, and its log keeps. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cti_edits.errors import printable
from cti_edits.harness.calibration import CalibrationSet, row_count
from cti_edits.search.candidates import Candidate, RankCut
from cti_edits.search.explanation import Explanation
from cti_edits.search.measure import answers
from cti_edits.search.outcome import Outcome

if TYPE_CHECKING:
    from cti_edits.search.runner import SearchResult

MOST_ROWS = 10
"""Of the rows that changed, so many each way."""
MOST_PROMPT = 400
"""Characters of a prompt: the last ones, since the first are those of every row's few-shot examples."""
MOST_TEXT = 200
"""Characters of any other text."""


@dataclass(frozen=True)
class TriedCandidate:
    """A candidate that was evaluated to the end.

    Attributes:
        cells: what it is, from heading to text; see `Candidate.cells`.
        accuracy: on the calibration rows, as a share.
        nll: of the gold answer, likewise.
        best: whether it is the winner.
    """

    cells: Mapping[str, str]
    accuracy: float
    nll: float
    best: bool


@dataclass(frozen=True)
class GivenAnswers:
    """How often each label is given, of a task that has the same ones for every row.

    Attributes:
        labels: their texts.
        baseline: how often the unedited model gives each.
        edited: likewise with the edit.
    """

    labels: tuple[str, ...]
    baseline: tuple[int, ...]
    edited: tuple[int, ...]


@dataclass(frozen=True)
class ChangedRow:
    """A row that only one of the two models has right.

    Attributes:
        number: of the row.
        prompt: the end of what the model is given.
        gold: the right answer.
        base: what the unedited model answers, where that is one of fixed labels.
        edited: what the edited model answers, likewise.
        better: whether it is the edited model that is right.
    """

    number: int
    prompt: str
    gold: str
    base: str | None
    edited: str | None
    better: bool


@dataclass(frozen=True)
class SearchDetails:
    """What a search knows and a manifest does not say. All rows are calibration rows.

    Attributes:
        tried: the candidates that were evaluated to the end, the best first.
        unedited: accuracy of the unedited model on the same rows.
        stopped: how many could not win any more and were not evaluated to the end.
        failed: how many had a loss that is not finite, or are over the limit on other text.
        explanation: scores of all matrices, σ and g.
        answers: how often each label is given, where the task has fixed ones.
        changed: some of the rows that changed; better ones first.
        gained: how many rows the edited model alone has right.
        lost: how many rows the unedited model alone has right.
        layers: how many blocks the model has, where that is known.
        task_rows: how many rows the task has.
    """

    tried: tuple[TriedCandidate, ...]
    unedited: float
    stopped: int
    failed: int
    explanation: Explanation
    answers: GivenAnswers | None
    changed: tuple[ChangedRow, ...]
    gained: int
    lost: int
    layers: int | None
    task_rows: int


def search_details(result: SearchResult, calibration: CalibrationSet) -> SearchDetails:
    """Of a search that has just ended.

    Args:
        result: what it found.
        calibration: the rows that every candidate was evaluated on.
    """
    base, best = result.unedited, result.best
    pairs = list(zip(base.correct, best.correct, strict=True))
    return SearchDetails(
        tried=tuple(
            TriedCandidate(_cells(one.candidate), one.accuracy, one.nll, one.candidate == best.candidate)
            for one in sorted(result.outcomes, key=Outcome.order)
            if one.candidate is not None
        ),
        unedited=base.accuracy,
        stopped=len(result.stopped),
        failed=len(result.failed),
        explanation=dataclasses.replace(
            result.explanation,
            scored_by=printable(result.explanation.scored_by, MOST_TEXT),
            kept_for=printable(result.explanation.kept_for, MOST_TEXT),
        ),
        answers=_answers(base, best, calibration),
        changed=(
            *_changed(base, best, calibration, better=True),
            *_changed(base, best, calibration, better=False),
        ),
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        layers=_layers(result),
        task_rows=row_count(calibration.task),
    )


def _cells(candidate: Candidate) -> Mapping[str, str]:
    return {printable(key, MOST_TEXT): printable(text, MOST_TEXT) for key, text in candidate.cells().items()}


def _answers(base: Outcome, best: Outcome, calibration: CalibrationSet) -> GivenAnswers | None:
    found = answers(calibration, base.predicted, best.predicted)
    return GivenAnswers(found["labels"], found["baseline_answers"], found["edited_answers"]) if found else None


def _changed(base: Outcome, best: Outcome, calibration: CalibrationSet, better: bool) -> Sequence[ChangedRow]:
    """The first rows that changed one way, `MOST_ROWS` of them."""
    wanted = (not better, better)
    pairs = enumerate(zip(base.correct, best.correct, strict=True))
    places = [place for place, pair in pairs if pair == wanted][:MOST_ROWS]
    return [
        ChangedRow(
            number=calibration.gold[place].doc_id,
            prompt=_end(calibration.gold[place].context),
            gold=printable(calibration.gold[place].continuation.strip(), MOST_TEXT),
            base=_label(base, place, calibration),
            edited=_label(best, place, calibration),
            better=better,
        )
        for place in places
    ]


def _end(prompt: str) -> str:
    """The end of a prompt, on one line."""
    # Escapes are longer than what they stand for, at most ten characters each.
    text = printable(" ".join(prompt[-4 * MOST_PROMPT :].split()), 40 * MOST_PROMPT)
    return text if len(text) <= MOST_PROMPT else "…" + text[1 - MOST_PROMPT :]


def _label(outcome: Outcome, place: int, calibration: CalibrationSet) -> str | None:
    if outcome.predicted is None or calibration.labels is None:
        return None
    return printable(calibration.labels[outcome.predicted[place]].strip(), MOST_TEXT)


def _layers(result: SearchResult) -> int | None:
    """Blocks of the model, as far as scores and candidates tell: all of them, where all matrices are looked at."""
    tried: list[Candidate] = [one.candidate for one in result.outcomes if one.candidate is not None]
    places = [one.target.layer for one in result.explanation.scores]
    places += [one.target.layer for one in (*tried, *result.stopped) if isinstance(one, RankCut)]
    return max(places) + 1 if places else None
