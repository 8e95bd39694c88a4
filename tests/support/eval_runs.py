"""Folders as ``lm_eval --output_path … --log_samples`` leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.comparison import compare_runs

TIME = "2026-01-01T00-00-00.000000"
LATER = "2026-02-01T00-00-00.000000"
EIGHT_ANSWERS = ["a", "b", "c", "d", "e", "f", "g", "h"]
"""Gold answers, none of which it helps to give always."""

EDIT = {"name": "n\x1b[31m", "digest": "d"}


def write_run(
    folder: Path,
    right: list[int],
    time: str = TIME,
    edit: object = None,
    task: str = "cti_fever",
    results: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    targets: Sequence[str] | None = None,
    **changes: object,
) -> Path:
    """A run that has these examples right and wrong.

    Args:
        folder: what ``--output_path`` named.
        right: of each example, 1 or 0.
        time: of the run.
        edit: what the results name.
        task: its name.
        results: more of the results file.
        config: more of its ``config``.
        targets: the gold answer of each example; " false" and three times " true" in turn if None.
        changes: fields of every sample.
    """
    inside = folder / "model"
    inside.mkdir(parents=True, exist_ok=True)
    gold = targets or [" true" if i % 4 else " false" for i in range(len(right))]
    rows = [
        {"doc_id": i, "doc_hash": f"h{i}", "target": gold[i], "acc": float(acc), **changes}
        for i, acc in enumerate(right)
    ]
    (inside / f"samples_{task}_{time}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    document = {"config": {"edit": edit, **(config or {})}, **(results or {})}
    (inside / f"results_{time}.json").write_text(json.dumps(document))
    return folder


def samples_file(folder: Path) -> Path:
    """The only samples file of ``folder``."""
    (path,) = folder.rglob("samples_*.jsonl")
    return path


def results_file(folder: Path) -> Path:
    """The only results file of ``folder``."""
    (path,) = folder.rglob("results_*.json")
    return path


def refusal(*runs: Path) -> str:
    """The line that comparing these runs ends in."""
    with pytest.raises(EditError) as error:
        compare_runs(runs)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)
