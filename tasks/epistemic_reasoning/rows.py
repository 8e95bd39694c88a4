"""Rows, prompt and metrics of ``cti_epistemic_reasoning`` (BIG-bench)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cti_edits.harness.benchmark_metrics import label_metrics
from cti_edits.harness.benchmark_rows import BenchmarkRows, HubCopy, Row, benchmark

LABELS = ("entailment", "non-entailment")


def epistemic_reasoning(path: str, revision: str | None = None, **_: Any) -> BenchmarkRows:
    """The 2,000 rows."""
    hub = HubCopy(path, revision, name="epistemic_reasoning")
    return benchmark("epistemic_reasoning.jsonl", {"inputs": str, "target": LABELS}, hub, from_hub)


def from_hub(hub: HubCopy) -> list[Row]:
    """Validation before train, as LASER reads them."""
    return [
        {"inputs": row["inputs"], "target": row["targets"][0] if row["targets"] else None}
        for split in ("validation", "train")
        for row in hub.rows(split, ("inputs", "targets"))
    ]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer; it ends in ``Relation:``."""
    return str(doc["inputs"])


def choices(_: Mapping[str, Any]) -> list[str]:
    """The labels."""
    return list(LABELS)


def target(doc: Mapping[str, Any]) -> int:
    """Index of the gold answer among the choices."""
    return LABELS.index(doc["target"])


def results(doc: Mapping[str, Any], responses: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """The metrics of one example."""
    return label_metrics(LABELS, target(doc), responses)
