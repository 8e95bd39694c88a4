"""Rows and prompt of ``cti_epistemic_reasoning`` (BIG-bench)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cti_edits.benchmark_rows import DatasetDict, hub_rows, local_rows, split_rows

HUB = ("tasksource/bigbench", None)


def epistemic_reasoning(**_: Any) -> DatasetDict:
    """The 2,000 rows; from the hub, validation before train, as LASER reads them."""
    rows = local_rows("epistemic_reasoning.jsonl", ("inputs", "target"))
    if rows is None:
        found = hub_rows(*HUB, name="epistemic_reasoning", splits=("validation", "train"))
        rows = [{"inputs": row["inputs"], "target": row["targets"][0]} for row in found]
    return split_rows(rows, keep=("inputs", "target"))


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer; it ends in ``Relation:``."""
    return str(doc["inputs"])


def target(doc: Mapping[str, Any]) -> int:
    """Index of the gold answer in doc_to_choice."""
    return ["entailment", "non-entailment"].index(doc["target"])
