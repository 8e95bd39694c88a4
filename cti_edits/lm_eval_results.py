"""Reads what ``lm_eval --output_path … --log_samples`` wrote, and compares two runs example by example."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cti_edits.errors import EditError, printable
from cti_edits.stats import majority_class, mcnemar_p_value, paired_interval, wilson_interval

METRIC = "acc"


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same examples of one task.

    Attributes:
        n: number of examples.
        baseline: accuracy and its 95 % interval, base model.
        edited: the same with the edit.
        difference: edited minus baseline.
        ci95: 95 % interval of the difference.
        p_value: McNemar's exact test.
        majority_class: share of the most frequent gold answer.
        edit: name and digest of the edit that ran, if the results say so.
    """

    n: int
    baseline: tuple[float, float, float]
    edited: tuple[float, float, float]
    difference: float
    ci95: tuple[float, float]
    p_value: float
    majority_class: float
    edit: str | None

    def verdict(self) -> str:
        """What the figures allow one to say, in words."""
        if self.ci95[0] > 0:
            return "the edit helps on these examples."
        if self.ci95[1] < 0:
            return "the edit hurts on these examples."
        return "no difference is shown: the interval holds zero."


def compare_runs(baseline: Path, edited: Path) -> dict[str, Comparison]:
    """Each task that both output folders hold samples of.

    Raises:
        EditError: a folder holds no samples, the runs saw other examples, or there is no accuracy.
    """
    before, after = _samples(baseline), _samples(edited)
    shared = sorted(set(before) & set(after))
    if not shared:
        raise EditError(
            f"{printable(baseline)} and {printable(edited)} have no task in common "
            f"({', '.join(sorted(before))} and {', '.join(sorted(after))})"
        )
    edit = _edit(edited)
    return {task: _compare(task, before[task], after[task], edit) for task in shared}


def _compare(task: str, before: dict[Any, Any], after: dict[Any, Any], edit: str | None) -> Comparison:
    if set(before) != set(after) or any(before[key]["doc_hash"] != after[key]["doc_hash"] for key in before):
        raise EditError(f"{task}: the two runs saw other examples; run both with the same --limit and the same data")
    keys = sorted(before)
    if any(METRIC not in sample for run in (before, after) for sample in run.values()):
        raise EditError(f"{task}: the samples hold no {METRIC!r}, so there is nothing to compare")
    right_before = [bool(before[key][METRIC]) for key in keys]
    right_after = [bool(after[key][METRIC]) for key in keys]
    n = len(keys)
    return Comparison(
        n=n,
        baseline=(sum(right_before) / n, *wilson_interval(sum(right_before), n)),
        edited=(sum(right_after) / n, *wilson_interval(sum(right_after), n)),
        difference=(sum(right_after) - sum(right_before)) / n,
        ci95=paired_interval(right_before, right_after),
        p_value=mcnemar_p_value(right_before, right_after),
        majority_class=majority_class([str(before[key]["target"]) for key in keys]),
        edit=edit,
    )


def _latest(files: list[Path]) -> Path:
    """lm-eval ends file names in the time of the run, so the last by that part is the newest."""
    return max(files, key=lambda path: path.stem.rsplit("_", 1)[-1])


def _samples(folder: Path) -> dict[str, dict[Any, Any]]:
    """From task to its samples of the newest run, by row number."""
    by_task: dict[str, list[Path]] = {}
    for path in folder.rglob("samples_*.jsonl"):
        by_task.setdefault(path.stem.removeprefix("samples_").rsplit("_", 1)[0], []).append(path)
    if not by_task:
        raise EditError(f"{printable(folder)}: no samples of an lm_eval run; run it with --log_samples --output_path")
    runs = {}
    for task, files in by_task.items():
        with _latest(files).open(encoding="utf-8") as lines:
            samples = [json.loads(line) for line in lines]
        runs[task] = {sample["doc_id"]: sample for sample in samples}
    return runs


def _edit(folder: Path) -> str | None:
    files = list(folder.rglob("results_*.json"))
    if not files:
        return None
    config = json.loads(_latest(files).read_text(encoding="utf-8")).get("config", {})
    ran = config.get("edit")
    return f"{printable(ran['name'])}, digest {printable(ran['digest'])}" if isinstance(ran, dict) else None
