"""Rows, prompts and metrics of ``cti_truthfulqa``: TruthfulQA's mc2 answers, each true or false."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cti_edits.errors import EditError
from cti_edits.harness.benchmark_rows import BenchmarkRows, HubCopy, Row, benchmark


def truthfulqa(path: str, revision: str | None = None, **_: Any) -> BenchmarkRows:
    """The question-answer pairs, in the order of questions and answers."""
    fields = {"question": str, "choices": list, "labels": list}
    return benchmark("truthfulqa.jsonl", fields, HubCopy(path, revision, name="multiple_choice"), from_hub, pairs)


def from_hub(hub: HubCopy) -> list[Row]:
    """The mc2 answers of each question."""
    found = hub.rows("validation", ("question", "mc2_targets"))
    return [{"question": row["question"], **row["mc2_targets"]} for row in found]


def pairs(rows: list[Row]) -> list[Row]:
    """One row for each answer of a question; label 1 is true."""
    for row in rows:
        if len(row["choices"]) != len(row["labels"]) or set(row["labels"]) - {0, 1}:
            raise EditError(f"truthfulqa: {row['question']!r}: expected a label, 0 or 1, for each choice")
    return [
        {"question": row["question"], "answer": answer, "label": label}
        for row in rows
        for answer, label in zip(row["choices"], row["labels"], strict=True)
    ]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    statement = f"{doc['question']} {doc['answer']}"
    end = "" if statement.endswith(".") else "."
    return f"{statement}{end} Is this statement true or false? This statement is"


def masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text around the mask."""
    return f"{prompt(doc)} <mask>"
