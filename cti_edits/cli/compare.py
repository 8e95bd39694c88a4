"""``cti-edits compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.errors import printable
from cti_edits.report.listing import interval_text, print_columns

NO_EDIT = (
    "none is named by the results of EDITED. That is so for an edited checkpoint run with --model hf; else check that "
    "the run had --model cti and edit=FILE."
)


def compare(
    baseline: Annotated[
        Path, typer.Argument(metavar="BASELINE", help="--output_path of the base model's run.", show_default=False)
    ],
    edited: Annotated[
        Path, typer.Argument(metavar="EDITED", help="--output_path of the edited model's run.", show_default=False)
    ],
) -> None:
    """Compare two lm_eval runs with --log_samples, example by example: accuracies, intervals, majority class."""
    from cti_edits.harness.lm_eval_results import compare_runs

    for task, comparison in compare_runs(baseline, edited).items():
        print(f"{printable(task)}: {comparison.n} examples, the same in both runs")
        measured = (("base model", comparison.baseline), ("with the edit", comparison.edited))
        print_columns(
            ("", "accuracy", "95 % interval"),
            [
                *((label, f"{100 * share:.1f} %", interval_text(low, high)) for label, (share, low, high) in measured),
                ("most frequent answer", f"{100 * comparison.majority_class:.1f} %", ""),
            ],
            right=("accuracy", "95 % interval"),
        )
        low, high = comparison.ci95
        print(
            f"difference {100 * comparison.difference:+.1f} points, 95 % interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}, exact McNemar p = {comparison.p_value:.3g}: {comparison.verdict()}"
        )
        print(f"edit: {comparison.edit or NO_EDIT}")
