"""Rows, prompts and metrics of ``cti_qa_wikidata`` (BIG-bench)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cti_edits.harness.benchmark_metrics import containment_metrics, contains
from cti_edits.harness.benchmark_rows import BenchmarkRows, HubCopy, Row, benchmark


def qa_wikidata(path: str, revision: str | None = None, **_: Any) -> BenchmarkRows:
    """The rows with one target."""
    hub = HubCopy(path, revision, name="qa_wikidata")
    return benchmark("qa_wikidata.jsonl", {"inputs": str, "target": str}, hub, from_hub)


def from_hub(hub: HubCopy) -> list[Row]:
    """Validation before train, as LASER reads them; rows with several targets are dropped."""
    return [
        {"inputs": row["inputs"], "target": row["targets"][0]}
        for split in ("validation", "train")
        for row in hub.rows(split, ("inputs", "targets"))
        if len(row["targets"]) == 1
    ]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    return str(doc["inputs"]).strip()


def masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text before the five masks, and the masks."""
    return prompt(doc) + 5 * " <mask>"


def target(doc: Mapping[str, Any]) -> str:
    """The answer."""
    return str(doc["target"]).strip()


def results(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, float]:
    """The metrics of one example."""
    return containment_metrics(prompt(doc), target(doc), responses[0])


def masked_results(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, float]:
    """The metric of one example of a masked model, whose text LASER looks at without the prompt too."""
    return {"acc": float(contains(target(doc), responses[0]))}
