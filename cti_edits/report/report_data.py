"""What a report shows: an edit, and what its search knows beside that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.harness.benchmark_metrics import balanced_accuracy
from cti_edits.harness.calibration import CalibrationSet, row_count
from cti_edits.search.candidates import Candidate, RankCut
from cti_edits.search.explanation import Explanation
from cti_edits.search.outcome import Outcome
from cti_edits.search.runner import SearchResult
from cti_edits.stats import collapsed

MOST_ROWS = 10
"""Of the rows that changed, so many each way."""


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
class LabelShares:
    """How often each label is right, and is predicted. Each is in the order of the labels.

    Attributes:
        rows: how many rows.
        labels: the choices that every row has.
        gold: share of the rows of which it is the gold answer.
        base: share that the unedited model gives it.
        edited: share that the edited model gives it.
        balanced: balanced accuracy of the unedited and of the edited model.
        collapsed: whether the edited model gives nearly every row one label, and the unedited one does not.
    """

    rows: int
    labels: tuple[str, ...]
    gold: tuple[float, ...]
    base: tuple[float, ...]
    edited: tuple[float, ...]
    balanced: tuple[float, float]
    collapsed: bool


@dataclass(frozen=True)
class ChangedRow:
    """A row that only one of the two models has right.

    Attributes:
        number: of the row.
        prompt: what the model is given.
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
    """What a search knows and a manifest does not say.

    Attributes:
        tried: the candidates that were evaluated to the end.
        unedited: accuracy of the unedited model on the same rows.
        stopped: how many could not win any more and were not evaluated to the end.
        failed: how many had a loss that is not finite.
        explanation: scores of all matrices, σ and g.
        shares: of predicted labels, where the task has fixed ones.
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
    shares: LabelShares | None
    changed: tuple[ChangedRow, ...]
    gained: int
    lost: int
    layers: int | None
    task_rows: int


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        edit: the manifest.
        search: what its search knows beside that; None where there is the manifest alone.
    """

    edit: Edit
    search: SearchDetails | None = None


def of_search(result: SearchResult, calibration: CalibrationSet) -> ReportData:
    """What there is to show of a search that has just ended.

    Args:
        result: what it found.
        calibration: the rows that every candidate was evaluated on.
    """
    base, best = result.unedited, result.best
    pairs = list(zip(base.correct, best.correct, strict=True))
    details = SearchDetails(
        tried=tuple(
            TriedCandidate(one.candidate.cells(), one.accuracy, one.nll, one.candidate == best.candidate)
            for one in sorted(result.outcomes, key=Outcome.order)
            if one.candidate is not None
        ),
        unedited=base.accuracy,
        stopped=len(result.stopped),
        failed=len(result.failed),
        explanation=result.explanation,
        shares=_shares(base, best, calibration),
        changed=_changed(base, best, calibration),
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        layers=_layers(result),
        task_rows=row_count(calibration.task),
    )
    return ReportData(result.edit, details)


def _shares(base: Outcome, best: Outcome, calibration: CalibrationSet) -> LabelShares | None:
    if calibration.labels is None or base.predicted is None or best.predicted is None:
        return None
    gold = calibration.gold_index

    def shares(given: Sequence[int]) -> tuple[float, ...]:
        return tuple(given.count(index) / len(given) for index in range(len(calibration.labels or ())))

    balanced = tuple(balanced_accuracy(list(zip(gold, one.predicted or (), strict=True))) for one in (base, best))
    return LabelShares(
        rows=len(gold),
        labels=tuple(label.strip() for label in calibration.labels),
        gold=shares(gold),
        base=shares(base.predicted),
        edited=shares(best.predicted),
        balanced=(balanced[0], balanced[1]),
        collapsed=collapsed(best.predicted) is not None and collapsed(base.predicted) is None,
    )


def _changed(base: Outcome, best: Outcome, calibration: CalibrationSet) -> tuple[ChangedRow, ...]:
    """The first rows that changed, `MOST_ROWS` each way."""
    found: list[ChangedRow] = []
    for better in (True, False):
        places = [
            place
            for place, (before, after) in enumerate(zip(base.correct, best.correct, strict=True))
            if before != after and after is better
        ]
        for place in places[:MOST_ROWS]:
            asked = calibration.gold[place]
            found.append(
                ChangedRow(
                    number=asked.doc_id,
                    prompt=asked.context,
                    gold=asked.continuation.strip(),
                    base=_label(base, place, calibration),
                    edited=_label(best, place, calibration),
                    better=better,
                )
            )
    return tuple(found)


def _label(outcome: Outcome, place: int, calibration: CalibrationSet) -> str | None:
    if outcome.predicted is None or calibration.labels is None:
        return None
    return calibration.labels[outcome.predicted[place]].strip()


def _layers(result: SearchResult) -> int | None:
    """Blocks of the model, as far as scores and candidates tell: all of them, where all matrices are looked at."""
    tried: list[Candidate] = [one.candidate for one in result.outcomes if one.candidate is not None]
    places = [one.target.layer for one in result.explanation.scores]
    places += [one.target.layer for one in (*tried, *result.stopped) if isinstance(one, RankCut)]
    return max(places) + 1 if places else None
