"""Compares lm-eval runs of the same examples row by row, and refuses runs whose settings differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from cti_edits.artifact.asked import PARTS, Difference
from cti_edits.errors import EditError, printable
from cti_edits.harness.eval_runs import (
    Row,
    RunEdit,
    TaskRun,
    read_run,
    read_runs,
    right_or_wrong,
)
from cti_edits.harness.metrics import Metric, is_zero_or_one
from cti_edits.harness.row_hashes import DIGITS
from cti_edits.stats import (
    TopAnswer,
    Verdict,
    difference_interval,
    holm,
    majority_class,
    mcnemar_p_value,
    top_answer,
    verdict,
    wilson_interval,
)

ROW_FIELDS = {"prompts": "prompt_hash", "targets": "target_hash"}
"""What is compared row by row: the attributes of `Row` by the names of the differences."""

FIELDS = (*(one.name for kind in PARTS.values() for one in fields(kind)), *ROW_FIELDS)
"""Names of all settings that two runs can differ in, beside the edit."""

CHANGES_PROMPTS = (
    *("num_fewshot", "fewshot_seed", "fewshot_as_multiturn"),
    *("apply_chat_template", "chat_template_sha", "system_instruction", "version"),
)
"""Settings that change the prompts; where one of these differs, a difference of prompts is not listed beside it."""


class SettingsDifferError(EditError):
    """The settings of two runs differ.

    Attributes:
        differing: names of the fields that differ and may not.
    """

    def __init__(self, message: str, differing: Sequence[str]) -> None:
        super().__init__(message)
        self.differing = tuple(differing)


@dataclass(frozen=True)
class RunFigures:
    """One run.

    Attributes:
        edit: that it ran, or None.
        accuracy: share of examples that are right.
        ci95: its interval (Wilson).
    """

    edit: RunEdit | None
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class PairedRuns:
    """A run against the first one, on the same examples.

    Attributes:
        difference: of the accuracies, this one minus the first.
        ci95: its interval (Newcombe's for pairs; wider where examples share records).
        p_value: McNemar's exact test.
        corrected_p_value: the same after Holm's correction for all runs that are compared with the first.
        different: what was asked differently and was allowed to be.
        verdict: what these figures allow one to say, by the corrected p-value.
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float
    corrected_p_value: float
    different: tuple[Difference, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Runs of one task on the same examples.

    Attributes:
        task: its name.
        metric: that says right or wrong of an example, with its filter where there is one: "exact_match,strict-match".
        n: number of examples.
        majority_class: share of the most frequent gold answer.
        runs: in the order in which they were given.
        paired: one for each run but the first.
        seen: for each edit, how many of the examples its search saw.
        records: how many records the examples are of, where some share one; else None.
    """

    task: str
    metric: str
    n: int
    majority_class: float
    runs: tuple[RunFigures, ...]
    paired: tuple[PairedRuns, ...]
    seen: tuple[tuple[RunEdit, int], ...]
    records: int | None = None


def compare_runs(
    folders: Sequence[Path], metric: str | None = None, allow_different: Collection[str] = ()
) -> dict[str, Comparison]:
    """Compare each task that all of the output folders hold samples of; of each folder, its newest run.

    Args:
        folders: two or more; the others are compared with the first.
        metric: one that is 0 or 1 for each example, "acc" or "exact_match,strict-match"; if None, what the search of
            an edit ranked by, else acc, else the first such metric.
        allow_different: names of `FIELDS` in which runs may differ.

    Raises:
        EditError: a folder holds no samples, a file is broken, the runs saw other examples, or there is no such metric.
        SettingsDifferError: two runs differ in more than the edit.
    """
    if len(folders) < 2:
        raise EditError(f"expected two or more runs to compare, got {len(folders)}")
    found = [read_runs(folder) for folder in folders]
    shared = sorted(set.intersection(*(set(tasks) for tasks in found)))
    if not shared:
        names = " and ".join(printable(folder) for folder in folders)
        tasks = " and ".join(printable(", ".join(sorted(one))) for one in found)
        raise EditError(f"{names} have no task in common ({tasks})")
    return {
        task: _compare([read_run(task, tasks[task]) for tasks in found], metric, allow_different) for task in shared
    }


def _compare(runs: Sequence[TaskRun], metric: str | None, allow_different: Collection[str]) -> Comparison:
    name, filter_name = _chosen_metric(runs, metric)
    rows = [_filtered(run, filter_name) for run in runs]
    keys = sorted(rows[0])
    for run, other in zip(runs[1:], rows[1:], strict=True):
        _check_same_examples(runs[0], rows[0], run, other)
    different = [
        _differences(runs[0], rows[0], run, other, allow_different)
        for run, other in zip(runs[1:], rows[1:], strict=True)
    ]
    right = [_right(run, of_run, keys, name) for run, of_run in zip(runs, rows, strict=True)]
    p_values = [mcnemar_p_value(right[0], other) for other in right[1:]]
    n = len(keys)
    majority = majority_class([rows[0][key].target for key in keys])
    records = _records([rows[0][key] for key in keys])
    answers = [_top_answer([of_run[key] for key in keys]) for of_run in rows]

    def paired(number: int, corrected: float) -> PairedRuns:
        other = right[number]
        interval = difference_interval(right[0], other, records)
        said = verdict(interval, corrected, sum(other), n, majority, answers[0], answers[number])
        difference = (sum(other) - sum(right[0])) / n
        return PairedRuns(difference, interval, p_values[number - 1], corrected, tuple(different[number - 1]), said)

    return Comparison(
        task=runs[0].task,
        metric=str(Metric(name, filter_name)),
        n=n,
        majority_class=majority,
        runs=tuple(
            RunFigures(run.edit, sum(one) / n, wilson_interval(sum(one), n))
            for run, one in zip(runs, right, strict=True)
        ),
        paired=tuple(paired(number, corrected) for number, corrected in enumerate(holm(p_values), start=1)),
        seen=tuple(_seen(runs, rows[0])),
        records=None if records is None else len(set(records)),
    )


def _records(rows: Sequence[Row]) -> list[str] | None:
    """The record of each example; None where every example is its own, or one's is not known."""
    known = [row.record for row in rows if row.record is not None]
    return known if len(known) == len(rows) > len(set(known)) else None


def _top_answer(rows: Sequence[Row]) -> TopAnswer | None:
    """The most frequent answer of a run; None where the samples do not tell."""
    known = [row.predicted for row in rows if row.predicted is not None]
    return top_answer(known) if len(known) == len(rows) else None


def _chosen_metric(runs: Sequence[TaskRun], metric: str | None) -> tuple[str, str]:
    """Name and filter of a metric that is 0 or 1 on each example of each run.

    Raises:
        EditError: there is none, or it is not the one that was asked for.
    """
    first = runs[0]
    candidates = [
        (name, filter_name) for filter_name, rows in first.rows.items() for name in right_or_wrong(list(rows.values()))
    ]
    if metric is None:
        preferred = [run.edit.metric for run in runs if run.edit is not None and run.edit.metric is not None]
        for wanted in (*preferred, "acc"):
            for name, filter_name in candidates:
                if wanted in (name, f"{name},{filter_name}"):
                    return name, filter_name
        if candidates:
            return candidates[0]
        # The first metric at all, so that what is wrong with it is said.
        filter_name, rows = next(iter(first.rows.items()))
        names = next(iter(rows.values())).metrics
        if names:
            return ("acc" if "acc" in names else next(iter(names))), filter_name
    else:
        wanted, _, of_filter = metric.partition(",")
        for filter_name, rows in first.rows.items():
            if of_filter in ("", filter_name) and wanted in next(iter(rows.values())).metrics:
                return wanted, filter_name
    there = ", ".join(printable(Metric(name, filter_name)) for name, filter_name in candidates)
    raise EditError(
        f"{printable(first.path)}: metric: "
        + (f"there is no {printable(metric)!r}" if metric is not None else "the samples have none")
        + f"; those that are 0 or 1 for each example: {there or 'none'}"
    )


def _filtered(run: TaskRun, filter_name: str) -> Mapping[int, Row]:
    if filter_name not in run.rows:
        raise EditError(
            f"{printable(run.path)}: no responses under the filter {printable(filter_name)!r}, as in the first run; "
            f"there is {printable(', '.join(run.rows))}"
        )
    return run.rows[filter_name]


def _check_same_examples(first: TaskRun, rows: Mapping[int, Row], run: TaskRun, other: Mapping[int, Row]) -> None:
    if set(rows) != set(other) or any(rows[key].doc_hash != other[key].doc_hash for key in rows):
        raise EditError(
            f"{printable(run.task)}: {printable(first.path.parent)} and {printable(run.path.parent)} saw other "
            f"examples ({len(rows)} and {len(other)}); run both with the same limit and the same data, and leave the "
            "same rows out (skip_calibration)"
        )


def _differences(
    first: TaskRun, rows: Mapping[int, Row], run: TaskRun, other: Mapping[int, Row], allowed: Collection[str]
) -> list[Difference]:
    """The settings that differ, all of which may.

    Raises:
        SettingsDifferError: one may not.
    """
    found = list(first.settings.differences(run.settings))
    implied = any(difference.field in CHANGES_PROMPTS for difference in found)
    found += (one for one in _row_differences(rows, other) if not (implied and one.field == "prompts"))
    refused = [difference for difference in found if difference.field not in allowed]
    if refused:
        raise SettingsDifferError(
            f"{printable(run.task)}: {printable(first.path.parent)} and {printable(run.path.parent)} differ in more "
            f"than the edit: {'; '.join(difference_text(difference) for difference in refused)}",
            [difference.field for difference in refused],
        )
    return found


def _row_differences(rows: Mapping[int, Row], other: Mapping[int, Row]) -> Iterator[Difference]:
    for name, attribute in ROW_FIELDS.items():
        pairs = [(getattr(rows[key], attribute), getattr(other[key], attribute)) for key in sorted(rows)]
        differing = [pair for pair in pairs if None not in pair and pair[0] != pair[1]]
        if differing:
            first, second = (f"{digest[:12]}… on {len(differing)} of {len(rows)} rows" for digest in differing[0])
            yield Difference(name, first, second)


def difference_text(difference: Difference) -> str:
    """A difference in words: "num_fewshot: 0 and 2"."""
    return f"{difference.field}: {_shown(difference.first)} and {_shown(difference.second)}"


def _shown(value: object) -> str:
    return "none" if value is None else printable(value, 100)


def _right(run: TaskRun, rows: Mapping[int, Row], keys: Sequence[int], metric: str) -> list[bool]:
    for key in keys:
        value = rows[key].metrics.get(metric, "missing")
        if not is_zero_or_one(value):
            others = ", ".join(right_or_wrong([rows[number] for number in keys])) or "none"
            raise EditError(
                f"{printable(run.path)}: expected a metric {metric!r} that is 0 or 1 for each example; on row {key} it "
                f"is {printable(value)} (metrics that are: {printable(others)})"
            )
    return [bool(rows[key].metrics[metric]) for key in keys]


def _seen(runs: Sequence[TaskRun], rows: Mapping[int, Row]) -> Iterator[tuple[RunEdit, int]]:
    """The edits whose searches saw some of the examples, and how many."""
    listed = set()
    for run in runs:
        if run.edit is None or run.edit.digest in listed:
            continue
        listed.add(run.edit.digest)
        count = sum(row.doc_hash[:DIGITS] in run.edit.row_hashes for row in rows.values())
        if count:
            yield run.edit, count
