"""Rows and prompt of ``cti_capitals``, the bundled task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cti_edits.harness.benchmark_rows import BenchmarkRows, Source, file_revision, read_jsonl, split_rows

FILE = Path(__file__).parent / "capitals.jsonl"


def capitals(**_: Any) -> BenchmarkRows:
    """The bundled rows, split as the benchmarks are."""
    return split_rows(read_jsonl(FILE, {"country": str, "capital": str}), Source(FILE.name, file_revision(FILE)))


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    return f"The capital of {doc['country']} is"


def target(doc: Mapping[str, Any]) -> str:
    """The answer with the blank before it."""
    return f" {doc['capital']}"
