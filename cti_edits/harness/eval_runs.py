"""Reads the results and samples of ``lm_eval --output_path … --log_samples``. Needs neither lm-eval nor a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cti_edits.errors import EditError, printable
from cti_edits.harness.metrics import NO_FILTER, is_zero_or_one
from cti_edits.harness.recorded_run import RecordedRun, recorded_run
from cti_edits.harness.row_hashes import split
from cti_edits.harness.row_records import record_field, record_of


@dataclass(frozen=True)
class RunEdit:
    """The edit that a run's results name.

    Attributes:
        name: its name.
        digest: its digest.
        metric: that its search ranked by, "acc", or None.
        row_hashes: of each row that its search saw, the first digits of lm-eval's ``doc_hash``.
    """

    name: str
    digest: str
    metric: str | None = None
    row_hashes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{printable(self.name)}, digest {printable(self.digest)}"


@dataclass(frozen=True)
class Row:
    """One example as a run logged it, under one filter.

    Attributes:
        doc_id: its number among the task's rows.
        doc_hash: of its content.
        prompt_hash: of what the model was asked; None where lm-eval did not write it.
        target_hash: of the gold answer, likewise.
        target: the gold answer.
        metrics: what lm-eval logged of it, by name.
        predicted: the model's answer, the likeliest choice or the text that it wrote; None where the samples do not
            tell.
        record: what it shares with other examples of the same record; None where every example is its own.
    """

    doc_id: int
    doc_hash: str
    prompt_hash: str | None
    target_hash: str | None
    target: str
    metrics: Mapping[str, object]
    predicted: str | None = None
    record: str | None = None


@dataclass(frozen=True)
class TaskRun:
    """A run of one task.

    Attributes:
        task: its name.
        path: the samples file.
        rows: by filter, in lm-eval's order, and by row number.
        edit: what the results name, or None.
        settings: as far as the results tell them; nothing is known where there is no results file.
    """

    task: str
    path: Path
    rows: Mapping[str, Mapping[int, Row]]
    edit: RunEdit | None
    settings: RecordedRun


def read_runs(folder: Path) -> dict[str, Path]:
    """From each task that ``folder`` holds samples of to the samples file of its newest run.

    Raises:
        EditError: there are none.
    """
    newest: dict[str, Path] = {}
    for path in sorted(folder.rglob("samples_*.jsonl"), key=lambda path: (_time(path), path)):
        newest[path.stem.removeprefix("samples_").rsplit("_", 1)[0]] = path
    if not newest:
        raise EditError(f"{printable(folder)}: no samples of an lm_eval run; run it with --log_samples --output_path")
    return newest


def read_run(task: str, path: Path) -> TaskRun:
    """The run whose samples of ``task`` are in the file ``path``.

    Raises:
        EditError: a file is broken; the message names it, the line and the field.
    """
    where, results = _results(path)
    rows = _rows(path, _record_field(results, task))
    return TaskRun(task, path, rows, _edit(where, results), recorded_run(results, task))


def _time(path: Path) -> str:
    """lm-eval ends the names of a run's files in the time of the run."""
    return path.stem.rsplit("_", 1)[-1]


def _record_field(results: Mapping[str, Any], task: str) -> str | None:
    """The field by which a task's file says that its rows share records; see `row_records`."""
    found: Any = results
    for key in ("configs", task, "metadata"):
        found = found.get(key) if isinstance(found, dict) else None
    return record_field(found)


def _rows(path: Path, record: str | None) -> dict[str, dict[int, Row]]:
    lines = _bytes(path).splitlines()
    if not lines:
        raise EditError(f"{printable(path)}: expected a sample a line, the file is empty; run lm_eval again")
    rows: dict[str, dict[int, Row]] = {}
    for number, line in enumerate(lines, 1):
        sample = _sample(path, number, line)
        of_filter = rows.setdefault(str(sample.get("filter", NO_FILTER)), {})
        if sample["doc_id"] in of_filter:
            raise EditError(f"{printable(path)}: row {sample['doc_id']} is there twice; run lm_eval again")
        of_filter[sample["doc_id"]] = _row(sample, record)
    return rows


_OTHER_FIELDS = (
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
)
"""Fields of a logged sample that are no metrics."""


def _row(sample: Mapping[str, Any], record: str | None) -> Row:
    names = sample.get("metrics")
    if not isinstance(names, list):
        names = [name for name in sample if name not in _OTHER_FIELDS]
    return Row(
        sample["doc_id"],
        sample["doc_hash"],
        _text(sample.get("prompt_hash")),
        _text(sample.get("target_hash")),
        str(sample["target"]),
        {str(name): sample[name] for name in names if name in sample},
        _predicted(sample),
        None if record is None else record_of(sample.get("doc"), record),
    )


def _predicted(sample: Mapping[str, Any]) -> str | None:
    """The text that was written; or of several choices, the likeliest, the first of equals as in lm-eval's ``acc``."""
    responses, arguments = sample.get("filtered_resps"), sample.get("arguments")
    if not isinstance(responses, list) or not responses:
        return None
    if isinstance(responses[0], str):
        return responses[0].strip()
    try:
        likelihoods = [float(response[0]) for response in responses]
        if len(likelihoods) < 2 or not isinstance(arguments, dict):
            return None
        return str(arguments[f"gen_args_{likelihoods.index(max(likelihoods))}"]["arg_1"])
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


_TYPES = {"doc_id": (int, "a whole number"), "doc_hash": (str, "a text")}


def _sample(path: Path, number: int, line: bytes) -> dict[str, Any]:
    where = f"{printable(path)}, line {number}"
    sample = _parsed(line, where, "was the run killed? run lm_eval again")
    for field in ("doc_id", "doc_hash", "target"):
        if field not in sample:
            raise EditError(
                f"{where}: expected a sample with the field {field!r}, it is missing; "
                "is the file of lm_eval --log_samples?"
            )
    for field, (kind, wanted) in _TYPES.items():
        if not isinstance(sample[field], kind) or isinstance(sample[field], bool):
            raise EditError(f"{where}: {field}: expected {wanted}, got {printable(json.dumps(sample[field]))}")
    return sample


def _results(samples: Path) -> tuple[str, dict[str, Any]]:
    """The results file that lm-eval wrote together with ``samples``, and its name for a message.

    That file is named ``results_TIME.json``; given ``--output_path X.json``, lm-eval names it ``X_TIME.json``.
    """
    written = (path for path in samples.parent.glob("*.json") if _time(path) == _time(samples))
    path = min(written, key=lambda path: (not path.name.startswith("results_"), path), default=None)
    if path is None:
        return printable(samples), {}
    where = printable(path)
    results = _parsed(_bytes(path), where, "run lm_eval again")
    config = results.setdefault("config", {})
    if not isinstance(config, dict):
        raise EditError(f"{where}: config: expected an object, got {printable(json.dumps(config), 40)}")
    return where, results


def _edit(where: str, results: Mapping[str, Any]) -> RunEdit | None:
    ran = results.get("config", {}).get("edit")
    if ran is None:
        return None
    if not isinstance(ran, dict) or not {"name", "digest"} <= set(ran):
        raise EditError(
            f"{where}: config.edit: expected an object with name and digest, got {printable(json.dumps(ran), 40)}"
        )
    hashes, metric = ran.get("row_hashes"), ran.get("metric")
    return RunEdit(
        str(ran["name"]),
        str(ran["digest"]),
        metric if isinstance(metric, str) else None,
        split(hashes) if isinstance(hashes, str) else frozenset(),
    )


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


def right_or_wrong(rows: Sequence[Row]) -> list[str]:
    """The metrics that are 0 or 1 on each of the rows, in lm-eval's order."""
    return [name for name in rows[0].metrics if all(is_zero_or_one(row.metrics.get(name)) for row in rows)]
