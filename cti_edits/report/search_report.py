"""What ``cti-edits search`` says at its end."""

from __future__ import annotations

from pathlib import Path

from cti_edits.errors import printable
from cti_edits.harness.benchmark_metrics import balanced_accuracy
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.report.edit_lines import wrapped
from cti_edits.report.listing import interval_text, print_columns
from cti_edits.report.measurements import bbc_cv_text, guard_text, held_out_lines
from cti_edits.search.outcome import Outcome
from cti_edits.search.runner import SearchResult
from cti_edits.stats import top_answer, wilson_interval

FIGURES = ("accuracy", "95 % interval", "NLL of gold answer", "")
SHOWN = 5
"""How many candidates are listed."""


def print_report(result: SearchResult, calibration: CalibrationSet, target: Path) -> None:
    """What held-out rows say; then the best of the candidates beside the unedited model, and the path written."""
    n = len(calibration.doc_ids)
    name = printable(calibration.name)
    test = result.edit.results.test
    for key, value in held_out_lines(result.edit.results):
        print(wrapped(key, str(value), None))
    if result.edit.results.guard is not None:
        print(wrapped("other text", guard_text(result.edit.results.guard), None))
    shown = (result.unedited, *sorted(result.outcomes, key=Outcome.order)[:SHOWN])
    metric = str(calibration.metric)
    print(f"{name}: {n} calibration examples" + ("" if metric == "acc" else f", metric {printable(metric)}"))
    tried_by = [outcome.candidate.cells() for outcome in result.outcomes if outcome.candidate is not None]
    headings = tuple(tried_by[0]) if tried_by else ("candidate",)
    print_columns(
        (*headings, *FIGURES),
        [_row(outcome, n, headings, outcome.candidate == result.best.candidate) for outcome in shown],
        right=(*headings[1:], *FIGURES[:-1]),
    )
    print("* the best of all that were tried")
    tried = len(result.outcomes) + len(result.stopped) + len(result.failed)
    stopped = f", {len(result.stopped)} of them until they could not win any more" if result.stopped else ""
    failed = f", {len(result.failed)} of them {_why_failed(result)}" if result.failed else ""
    print(
        f"{tried} candidate{'' if tried == 1 else 's'} tried{stopped}{failed}. Always giving the most frequent answer: "
        f"{100 * calibration.majority_class:.1f} %. The best of many on the examples that chose it looks better than "
        + ("it is." if test else "it is: measure it on other rows (--test-rows).")
    )
    if result.edit.results.bbc_cv is not None:
        print(f"BBC-CV: {bbc_cv_text(result.edit.results.bbc_cv)}.")
    described = [("the unedited model", result.unedited)]
    if result.best.candidate is not None:
        described.append(("the best candidate", result.best))
    for what, outcome in described:
        if line := _predictions(what, outcome, calibration):
            print(line)
    for line in _steps(result):
        print(line)
    if result.best.candidate is None:
        print("No candidate beat the unedited model: the edit is empty.")
    elif (result.steps[-1] if result.steps else result.best).accuracy <= result.unedited.accuracy:
        print(_only_likelier(calibration))
    if not calibration.own_validation:
        print(
            f"{name} has no validation rows apart from its test rows: the examples are from the first 20 % of those. "
            + ("Its test part is the rest." if test else "Leave them out when you measure the edit.")
        )
    print(f"wrote {target}")


def _why_failed(result: SearchResult) -> str:
    limited = result.edit.search is not None and result.edit.search.max_kl is not None
    return "with a loss that is not finite" + (", or over the limit on other text" if limited else "")


def _only_likelier(calibration: CalibrationSet) -> str:
    """Of an edit that wins by the likelihood of the gold answers alone."""
    said = "The accuracy is that of the unedited model: gold answers became likelier, and no more of them are given."
    if calibration.labels is None:
        return said
    return f"{said} Where all examples have the same labels, that may be no more than how often each label is right."


def _steps(result: SearchResult) -> list[str]:
    """The figures with each edit that was composed and those before it."""
    found = []
    for number, step in enumerate(result.steps, start=1):
        held_out = "" if step.held_out is None else f", test part {100 * step.held_out:.1f} %"
        figures = f"calibration {100 * step.accuracy:.1f} %, NLL {step.nll:.4f}{held_out}"
        found.append(f"edit {number}: {step.candidate}: {figures}")
    return found


def _predictions(what: str, outcome: Outcome, calibration: CalibrationSet) -> str | None:
    """Which labels were predicted how often; an accuracy alone does not show that all of them are one and the same."""
    if outcome.predicted is None or calibration.labels is None:
        return None
    n = len(outcome.predicted)
    shares = ", ".join(
        f"{100 * outcome.predicted.count(index) / n:.1f} % {printable(label.strip())}"
        for index, label in enumerate(calibration.labels)
    )
    balanced = balanced_accuracy(list(zip(calibration.gold_index, outcome.predicted, strict=True)))
    one = "; its predictions collapsed onto one label" if top_answer(outcome.predicted).collapsed else ""
    return f"{what} predicts {shares}; balanced accuracy {100 * balanced:.1f} %{one}"


def _row(outcome: Outcome, n: int, headings: tuple[str, ...], best: bool) -> tuple[str, ...]:
    if outcome.candidate is None:
        what: tuple[str, ...] = ("unedited", *[""] * (len(headings) - 1))
    else:
        what = tuple(outcome.candidate.cells().get(heading, "") for heading in headings)
    interval = interval_text(*wilson_interval(sum(outcome.correct), n))
    return *what, f"{100 * outcome.accuracy:.1f} %", interval, f"{outcome.nll:.4f}", "*" if best else ""
