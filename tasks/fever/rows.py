"""Rows and prompt of ``cti_fever``: FEVER claims that are true or false, in LASER's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cti_edits.benchmark_rows import DatasetDict, hub_rows, local_rows, split_rows

HUB = ("EleutherAI/fever", "refs/convert/parquet")


def fever(**_: Any) -> DatasetDict:
    """paper_dev then paper_test, claims with one consistent label, each once."""
    rows = local_rows("fever.jsonl", ("claim", "label"))
    if rows is None:
        rows = consistent_claims(hub_rows(*HUB, name="v1.0", splits=("paper_dev", "paper_test")))
    return split_rows(rows, keep=("claim", "label"))


def consistent_claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop NOT ENOUGH INFO and claims with both labels; one row a claim, at its first place. SUPPORTS is 1."""
    labels = {"SUPPORTS": 1, "REFUTES": 0}
    seen: dict[str, set[int]] = {}
    for row in rows:
        if row["label"] in labels:
            seen.setdefault(row["claim"], set()).add(labels[row["label"]])
    return [{"claim": claim, "label": found.pop()} for claim, found in seen.items() if len(found) == 1]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    claim = doc["claim"]
    end = "" if claim.endswith((".", "?")) else "."
    return f"Consider the following claim: {claim}{end} Is this claim true or false. The claim is"


def target(doc: Mapping[str, Any]) -> int:
    """Index of the gold answer in doc_to_choice."""
    return 0 if doc["label"] == 1 else 1
