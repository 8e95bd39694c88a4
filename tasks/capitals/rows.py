"""Rows and prompt of ``cti_capitals``, the bundled task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cti_edits.benchmark_rows import DatasetDict, read_jsonl, split_rows


def capitals(**_: Any) -> DatasetDict:
    """The bundled rows, split as the benchmarks are."""
    return split_rows(read_jsonl(Path(__file__).parent / "capitals.jsonl", ("country", "capital")))


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    return f"The capital of {doc['country']} is"


def target(doc: Mapping[str, Any]) -> str:
    """The answer with the blank before it."""
    return f" {doc['capital']}"
