"""What ``cti-edits search`` says at its end."""

from __future__ import annotations

from pathlib import Path

from cti_edits.errors import printable
from cti_edits.harness.benchmark_metrics import balanced_accuracy
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.report.edit_lines import wrapped
from cti_edits.report.listing import interval_text, print_columns
from cti_edits.report.measurements import bbc_cv_text, confirmation_lines, guard_lines, held_out_lines
from cti_edits.search.candidates import Candidate
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
    results = result.edit.results
    test = results.test
    for part in (held_out_lines(results), guard_lines(results), confirmation_lines(results)):
        for key, value in part:
            print(wrapped(key, str(value), None))
    metric = str(calibration.metric)
    print(f"{name}: {n} calibration examples" + ("" if metric == "acc" else f", metric {printable(metric)}"))
    _print_candidates(result, n)
    tried = len(result.outcomes) + len(result.stopped) + len(result.failed)
    stopped = f", {len(result.stopped)} of them until they could not win any more" if result.stopped else ""
    failed = f", {len(result.failed)} of them {_why_failed(result)}" if result.failed else ""
    print(
        f"{tried} candidate{'' if tried == 1 else 's'} tried{stopped}{failed}. Always giving the most frequent answer: "
        f"{100 * calibration.majority_class:.1f} %. The best of many on the examples that chose it looks better than "
        + ("it is." if test else "it is: measure it on other rows (--test-rows).")
    )
    if result.edit.search is not None and result.edit.search.time_budget is not None:
        print(
            f"Cut short after {result.edit.search.time_budget:g} s: what was left might have won. The same command "
            "without a time budget goes on."
        )
    if results.bbc_cv is not None:
        print(f"BBC-CV: {bbc_cv_text(results.bbc_cv)}.")
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


def _print_candidates(result: SearchResult, n: int) -> None:
    """The best candidates on the calibration rows; of those that were compared again, how they did there."""
    best = sorted(result.outcomes, key=Outcome.order)
    tried_by = [outcome.candidate.cells() for outcome in result.outcomes if outcome.candidate is not None]
    headings = tuple(tried_by[0]) if tried_by else ("candidate",)
    fresh: dict[Candidate | None, float] = {}
    figures: tuple[str, ...] = FIGURES
    star = "* the best of all that were tried"
    if result.again is not None:
        figures = (*FIGURES[:-1], "on fresh rows", "")
        fresh = {one.candidate: one.accuracy for one in (result.again.unedited, *result.again.outcomes)}
        star = f"* chosen among these by {len(result.again.unedited.correct)} fresh rows"
    shown = [result.unedited, *([one for one in best if one.candidate in fresh] or best[:SHOWN])]
    rows = []
    for one in shown:
        *cells, mark = _row(one, n, headings, one.candidate == result.best.candidate)
        if result.again is not None:
            cells.append(f"{100 * fresh[one.candidate]:.1f} %" if one.candidate in fresh else "")
        rows.append((*cells, mark))
    print_columns((*headings, *figures), rows, right=(*headings[1:], *figures[:-1]))
    print(star)


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
