"""Rows, prompts and metrics of ``cti_fever``: FEVER claims that are true or false, in LASER's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cti_edits.harness.benchmark_rows import BenchmarkRows, HubCopy, Row, benchmark

SPLITS = ("paper_dev", "paper_test")


def fever(path: str, revision: str | None = None, **_: Any) -> BenchmarkRows:
    """paper_dev then paper_test, claims with one consistent label, each once."""
    # The parquet branch has no card that would name its configurations, so its files are named here.
    hub = HubCopy(path, revision, data_files={split: f"v1.0/{split}/*.parquet" for split in SPLITS})
    return benchmark("fever.jsonl", {"claim": str, "label": (0, 1)}, hub, from_hub)


def from_hub(hub: HubCopy) -> list[Row]:
    """The hub has one row for each piece of evidence, so that claims repeat."""
    return [row for split in SPLITS for row in consistent_claims(hub.rows(split, ("claim", "label")))]


def consistent_claims(rows: list[Row]) -> list[Row]:
    """Drop NOT ENOUGH INFO and claims with both labels; one row a claim, at its first place. SUPPORTS is 1.

    The hub's card says that labels are words; LASER reads numbers from the same data set. Both are taken.
    """
    labels = {"SUPPORTS": 1, "REFUTES": 0, 1: 1, 0: 0}
    seen: dict[str, set[int]] = {}
    for row in rows:
        if row["label"] in labels:
            seen.setdefault(row["claim"], set()).add(labels[row["label"]])
    return [{"claim": claim, "label": found.pop()} for claim, found in seen.items() if len(found) == 1]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    claim = doc["claim"].strip()
    end = "" if claim.endswith((".", "?")) else "."
    return f"Consider the following claim: {claim}{end} Is this claim true or false. The claim is"


def masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text around the mask."""
    return f"{prompt(doc)} <mask>"
