"""What a report shows of a search that has just ended."""

from __future__ import annotations

from collections.abc import Sequence

from cti_edits.harness.benchmark_metrics import balanced_accuracy
from cti_edits.harness.calibration import CalibrationSet, row_count
from cti_edits.report.report_data import ChangedRow, LabelShares, ReportData, SearchDetails, TriedCandidate
from cti_edits.search.candidates import Candidate, RankCut
from cti_edits.search.outcome import Outcome
from cti_edits.search.runner import SearchResult
from cti_edits.stats import top_answer

MOST_ROWS = 10
"""Of the rows that changed, so many each way."""


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
        collapsed=top_answer(best.predicted).collapsed and not top_answer(base.predicted).collapsed,
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
