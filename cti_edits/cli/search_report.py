"""What ``cti-edits search`` says at its end."""

from __future__ import annotations

from pathlib import Path

from cti_edits.calibration import CalibrationSet
from cti_edits.cli.show import laid_out, measurement_lines
from cti_edits.search.runner import SearchResult
from cti_edits.search.space import Outcome
from cti_edits.stats import wilson_interval


def print_report(result: SearchResult, calibration: CalibrationSet, target: Path) -> None:
    """The best candidates beside the unedited model, and the path written."""
    from rich.console import Console
    from rich.table import Table

    n = len(calibration.doc_ids)
    table = Table(title=f"{calibration.name}: {n} calibration examples", title_justify="left")
    for column in ("matrix", "layer", "K", "ρ", "accuracy", "95 % interval", "NLL of gold answer"):
        table.add_column(column, justify="left" if column == "matrix" else "right", no_wrap=True)

    def row(outcome: Outcome) -> None:
        low, high = wilson_interval(sum(outcome.correct), n)
        c = outcome.candidate
        cells = (
            ("unedited", "", "", "")
            if c is None
            else (c.target.matrix, str(c.target.layer), str(c.clusters), f"{c.rho:g}")
        )
        mark = "bold" if outcome is result.best else None
        table.add_row(
            *cells,
            f"{100 * outcome.accuracy:.1f} %",
            f"{100 * low:.1f}–{100 * high:.1f} %",
            f"{outcome.nll:.4f}",
            style=mark,
        )

    row(result.unedited)
    table.add_section()
    for outcome in sorted(result.outcomes, key=Outcome.order)[:5]:
        row(outcome)
    console = Console()
    console.print(table)
    test = result.edit.results["test"]
    console.print(
        f"{len(result.outcomes)} candidates tried. Always giving the most frequent answer: "
        f"{100 * calibration.majority_class:.1f} %. The best of many on the examples that chose it looks better than "
        + ("it is." if test else "it is: measure it on the test part (--final)."),
        highlight=False,
        soft_wrap=True,
    )
    if result.best.candidate is None:
        console.print("No candidate beat the unedited model: the edit is empty.", soft_wrap=True)
    if test:
        for key, value in measurement_lines("test part", test):
            print(laid_out(key, str(value), None))
    if not calibration.own_validation:
        console.print(
            f"{calibration.name} has no validation rows apart from its test rows: the examples are from the first "
            "20 % of those. " + ("Its test part is the rest." if test else "Leave them out when you measure the edit."),
            highlight=False,
            soft_wrap=True,
        )
    print(f"wrote {target}")
