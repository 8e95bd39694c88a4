"""Reads what ``lm_eval --output_path … --log_samples`` wrote, and compares two runs example by example."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cti_edits.errors import EditError, printable
from cti_edits.stats import majority_class, mcnemar_p_value, paired_interval, wilson_interval

METRIC = "acc"

Sample = Mapping[str, Any]
"""What lm-eval logs of one example under one filter."""

AnySample = TypeVar("AnySample", bound=Sample)


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
        edit: name and digest of the edit that the edited run's results name, or None.
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


def is_right(sample: Sample) -> bool:
    """Whether the example is right, of a metric that says no more than that.

    Raises:
        EditError: the metric is missing, or neither 0 nor 1; the message names the row.
    """
    value = sample.get(METRIC, "missing")
    if value not in (0, 1):
        raise EditError(
            f"expected a metric {METRIC!r} that is 0 or 1 for each example; on row {printable(sample['doc_id'])} it is "
            f"{printable(value)}"
        )
    return bool(value)


def first_filter(samples: Sequence[AnySample]) -> list[AnySample]:
    """A task with several filters logs each example once a filter; the first is the one that it reports first."""
    return [sample for sample in samples if sample.get("filter") == samples[0].get("filter")]


def compare_runs(baseline: Path, edited: Path) -> dict[str, Comparison]:
    """Each task that both output folders hold samples of.

    Raises:
        EditError: a folder holds no samples, a file is broken, the runs saw other examples, there is no accuracy of
            right and wrong, or the first folder's run had an edit.
    """
    before, after = _newest_samples(baseline), _newest_samples(edited)
    shared = sorted(set(before) & set(after))
    if not shared:
        raise EditError(
            f"{printable(baseline)} and {printable(edited)} have no task in common "
            f"({printable(', '.join(sorted(before)))} and {printable(', '.join(sorted(after)))})"
        )
    return {task: _compare(task, before[task], after[task]) for task in shared}


def _compare(task: str, baseline: Path, edited: Path) -> Comparison:
    if ran := _edit(baseline):
        raise EditError(
            f"BASELINE ran the edit {ran} ({printable(baseline)}); name the base model's run first, then the edited "
            "model's"
        )
    edit = _edit(edited)
    before, after = _rows(baseline), _rows(edited)
    if set(before) != set(after) or any(before[key]["doc_hash"] != after[key]["doc_hash"] for key in before):
        raise EditError(
            f"{printable(task)}: the two runs saw other examples; run both with the same --limit and the same data"
        )
    keys = sorted(before)
    right_before, right_after = _right(baseline, before, keys), _right(edited, after, keys)
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


def _time(path: Path) -> str:
    """lm-eval ends the names of a run's files in the time of the run."""
    return path.stem.rsplit("_", 1)[-1]


def _newest_samples(folder: Path) -> dict[str, Path]:
    """From task to the samples file of its newest run."""
    newest: dict[str, Path] = {}
    for path in sorted(folder.rglob("samples_*.jsonl"), key=lambda path: (_time(path), path)):
        newest[path.stem.removeprefix("samples_").rsplit("_", 1)[0]] = path
    if not newest:
        raise EditError(f"{printable(folder)}: no samples of an lm_eval run; run it with --log_samples --output_path")
    return newest


def _rows(path: Path) -> dict[int, Sample]:
    """The samples by row number; of several filters, the first."""
    samples = [_sample(path, number, line) for number, line in enumerate(_bytes(path).splitlines(), 1)]
    if not samples:
        raise EditError(f"{printable(path)}: expected a sample a line, the file is empty; run lm_eval again")
    rows: dict[int, Sample] = {}
    for sample in first_filter(samples):
        if sample["doc_id"] in rows:
            raise EditError(f"{printable(path)}: row {sample['doc_id']} is there twice; run lm_eval again")
        rows[sample["doc_id"]] = sample
    return rows


_WANTED = {"doc_id": (int, "a whole number"), "doc_hash": (str, "a text")}


def _sample(path: Path, number: int, line: bytes) -> Sample:
    where = f"{printable(path)}, line {number}"
    sample = _parsed(line, where, "was the run killed? run lm_eval again")
    for field in ("doc_id", "doc_hash", "target", METRIC):
        if field not in sample:
            raise EditError(f"{where}: expected a sample with the field {field!r}, it is missing" + _ADVICE[field])
    for field, (kind, wanted) in _WANTED.items():
        if not isinstance(sample[field], kind) or isinstance(sample[field], bool):
            raise EditError(f"{where}: {field}: expected {wanted}, got {printable(json.dumps(sample[field]))}")
    return sample


_ADVICE = {
    "doc_id": "; is the file of lm_eval --log_samples?",
    "doc_hash": "; is the file of lm_eval --log_samples?",
    "target": "; is the file of lm_eval --log_samples?",
    METRIC: "; only tasks with this metric can be compared",
}


def _right(path: Path, rows: Mapping[int, Sample], keys: Sequence[int]) -> list[bool]:
    try:
        return [is_right(rows[key]) for key in keys]
    except EditError as error:
        raise EditError(f"{printable(path)}: {error}") from None


def _edit(samples: Path) -> str | None:
    """Name and digest of the edit in the results file that lm-eval wrote together with ``samples``, if there is one.

    That file is named ``results_TIME.json``; given ``--output_path X.json``, lm-eval names it ``X_TIME.json``.
    """
    written = (path for path in samples.parent.glob("*.json") if _time(path) == _time(samples))
    results = min(written, key=lambda path: (not path.name.startswith("results_"), path), default=None)
    if results is None:
        return None
    where = printable(results)
    config = _parsed(_bytes(results), where, "run lm_eval again").get("config", {})
    if not isinstance(config, dict):
        raise EditError(f"{where}: config: expected an object, got {printable(json.dumps(config), 40)}")
    ran = config.get("edit")
    if ran is None:
        return None
    if not isinstance(ran, dict) or not {"name", "digest"} <= set(ran):
        raise EditError(
            f"{where}: config.edit: expected an object with name and digest, got {printable(json.dumps(ran), 40)}"
        )
    return f"{printable(ran['name'])}, digest {printable(ran['digest'])}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EditError(f"{printable(path)}: cannot be read ({error.strerror})") from None


def _parsed(text: bytes, where: str, advice: str) -> dict[str, Any]:
    """The JSON object that ``text`` is."""
    try:
        found = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        # Whatever json.loads raises of text that is cut off, not UTF-8, nested too deep, or of digits without end.
        raise EditError(f"{where}: expected a JSON object, got text that is cut off or no JSON; {advice}") from None
    if not isinstance(found, dict):
        raise EditError(f"{where}: expected a JSON object, got {printable(json.dumps(found), 40)}; {advice}")
    return found
