"""A comparison of lm-eval runs in words: lines for a terminal or a file."""

from __future__ import annotations

from collections.abc import Sequence

from cti_edits.errors import printable
from cti_edits.harness.comparison import Comparison, difference_text
from cti_edits.report.listing import interval_text, print_columns
from cti_edits.stats import Verdict

NO_EDIT = (
    "none is named by the results of the second run. That is so for an edited checkpoint run with --model hf; else "
    "check that the run had --model cti and edit=FILE."
)


def print_comparison(comparison: Comparison) -> None:
    """Print one task's comparison: accuracies and intervals, differences, verdicts, and what to mind."""
    runs = len(comparison.runs)
    both = "both" if runs == 2 else f"all {runs}"
    metric = "" if comparison.metric == "acc" else f", metric {printable(comparison.metric)}"
    print(f"{printable(comparison.task)}: {comparison.n} examples, the same in {both} runs{metric}")
    labels = run_labels(comparison)
    if runs == 2:
        _print_two(comparison, labels)
    else:
        _print_table(comparison, labels)
    for label, paired in zip(labels[1:], comparison.paired, strict=True):
        for difference in paired.different:
            print(f"asked differently ({label}): {difference_text(difference)}; this is not about the edit alone")
    if comparison.records is not None:
        print(f"these examples are of {comparison.records} records, and the interval allows for that")
    for edit, count in comparison.seen:
        print(
            f"warning: {count} of these {comparison.n} examples are rows that the search of {printable(edit.name)} "
            "saw, which flatters it; skip_calibration=true leaves them out"
        )


def _print_two(comparison: Comparison, labels: Sequence[str]) -> None:
    print_columns(
        ("", "accuracy", "95 % interval"),
        [
            *(
                (label, f"{100 * run.accuracy:.1f} %", interval_text(*run.ci95))
                for label, run in zip(labels, comparison.runs, strict=True)
            ),
            ("most frequent answer", f"{100 * comparison.majority_class:.1f} %", ""),
        ],
        right=("accuracy", "95 % interval"),
    )
    (paired,) = comparison.paired
    first, second = (run.edit for run in comparison.runs)
    subject = "the edit" if first is None else "leaving the edit out" if second is None else "the second edit"
    low, high = paired.ci95
    print(
        f"difference {100 * paired.difference:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}, exact "
        f"McNemar p = {paired.p_value:.3g}: {verdict_text(paired.verdict, subject)}"
    )
    if first is not None:
        print(f"edits: {first} and {second or 'none'}")
    else:
        print(f"edit: {second or NO_EDIT}")


def _print_table(comparison: Comparison, labels: Sequence[str]) -> None:
    rows = []
    for index, (label, run) in enumerate(zip(labels, comparison.runs, strict=True)):
        row = [label, f"{100 * run.accuracy:.1f} %", interval_text(*run.ci95)]
        if index:
            paired = comparison.paired[index - 1]
            low, high = paired.ci95
            row += [f"{100 * paired.difference:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"]
            row += [f"{paired.p_value:.3g}", f"{paired.corrected_p_value:.3g}", paired.verdict.word]
        else:
            row += [""] * 5
        rows.append(row)
    rows.append(["most frequent answer", f"{100 * comparison.majority_class:.1f} %", *[""] * 6])
    headings = ("", "accuracy", "95 % interval", "difference", "its interval", "McNemar p", "Holm p", "")
    print_columns(headings, rows, right=headings[1:-1])
    print("Differences are to the first run. Holm p is corrected for their number, and decides.")
    for label, run in zip(labels, comparison.runs, strict=True):
        if run.edit is not None:
            print(f"{label}: digest {printable(run.edit.digest)}")


def run_labels(comparison: Comparison) -> list[str]:
    """What to call each run: "base model", "with the edit", or the edit's name where several ran."""
    runs = comparison.runs
    if len(runs) == 2 and runs[0].edit is None:
        return ["base model", "with the edit"]
    labels = ["base model" if run.edit is None else printable(run.edit.name, 60) for run in runs]
    return [f"{label} ({number})" if labels.count(label) > 1 else label for number, label in enumerate(labels, 1)]


def verdict_text(verdict: Verdict, subject: str) -> str:
    """A verdict in a sentence.

    Args:
        verdict: the verdict.
        subject: what it is on, "the edit".
    """
    if verdict.word == "no evidence":
        return f"no difference is shown: {verdict.reason}."
    if verdict.word == "collapsed":
        return f"collapsed: {verdict.reason}."
    return f"{subject} {'helps' if verdict.word == 'better' else 'hurts'} on these examples."
