"""``cti-edits compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    baseline: Annotated[
        Path, typer.Argument(metavar="BASELINE", help="--output_path of the base model's run.", show_default=False)
    ],
    edited: Annotated[
        Path, typer.Argument(metavar="EDITED", help="--output_path of the edited model's run.", show_default=False)
    ],
) -> None:
    """Compare two lm_eval runs with --log_samples, example by example: accuracies, intervals, majority class."""
    from rich.console import Console
    from rich.table import Table

    from cti_edits.lm_eval_results import compare_runs

    console = Console()
    for task, comparison in compare_runs(baseline, edited).items():
        table = Table(title=f"{task}: {comparison.n} examples, the same in both runs", title_justify="left")
        for column in ("", "accuracy", "95 % interval"):
            table.add_column(column, justify="right" if column else "left")
        for label, (accuracy, low, high) in (("base model", comparison.baseline), ("with the edit", comparison.edited)):
            table.add_row(label, f"{100 * accuracy:.1f} %", f"{100 * low:.1f}–{100 * high:.1f} %")
        table.add_row("most frequent answer", f"{100 * comparison.majority_class:.1f} %", "")
        console.print(table)
        low, high = comparison.ci95
        console.print(
            f"difference {100 * comparison.difference:+.1f} points, 95 % interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}, exact McNemar p = {comparison.p_value:.3g}: {comparison.verdict()}",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"edit: {comparison.edit or 'none'}", highlight=False, soft_wrap=True, markup=False)
