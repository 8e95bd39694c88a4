"""Rows, prompts and metrics of ``cti_hotpotqa``: HotpotQA's questions without their paragraphs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cti_edits.errors import EditError, printable
from cti_edits.harness.benchmark_metrics import containment_metrics, contains
from cti_edits.harness.benchmark_rows import BenchmarkRows, Fields, HubCopy, Row, benchmark, first_line

TRAIN_ROWS = 7405
MOST_TOKENS = 15
TOKENIZER_VARIABLE = "CTI_EDITS_LLAMA_TOKENIZER"


def hotpotqa(path: str, revision: str | None = None, **_: Any) -> BenchmarkRows:
    """The first 7,405 rows of train, then validation.

    LASER keeps answers of at most 15 tokens of Llama's tokenizer. Here CTI_EDITS_LLAMA_TOKENIZER may name it, a folder
    or a hub id; without it no answer is dropped.
    """
    fields: Fields = {"question": str, "answer": str, "split": ("train", "validation")}
    hub = HubCopy(path, revision, name="fullwiki")
    return benchmark("hotpotqa.jsonl", fields, hub, from_hub, train_then_validation)


def from_hub(hub: HubCopy) -> list[Row]:
    """The rows that `train_then_validation` wants, and no more."""
    columns = ("question", "answer")
    return [
        {**row, "split": split}
        for split, limit in (("train", TRAIN_ROWS), ("validation", None))
        for row in hub.rows(split, columns, limit)
    ]


def train_then_validation(rows: list[Row]) -> list[Row]:
    """Put train before validation, each in its order, and drop long answers if there is a tokenizer to tell them."""
    train = [row for row in rows if row["split"] == "train"][:TRAIN_ROWS]
    kept = short_answers(train + [row for row in rows if row["split"] == "validation"])
    return [{"question": row["question"], "answer": row["answer"]} for row in kept]


def short_answers(rows: list[Row]) -> list[Row]:
    """The rows whose answers have at most 15 tokens, counted as LASER does: stripped, with the tokenizer's ``<s>``."""
    name = os.environ.get(TOKENIZER_VARIABLE)
    if not name or not rows:
        return rows
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise EditError(
            f"{TOKENIZER_VARIABLE}: cannot load the tokenizer {printable(name)!r}: {first_line(error)}"
        ) from None
    tokens = tokenizer([row["answer"].strip() for row in rows])["input_ids"]
    return [row for row, answer in zip(rows, tokens, strict=True) if len(answer) <= MOST_TOKENS]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    question = doc["question"].strip()
    end = "" if question.endswith(("?", ".")) else "?"
    return f"{question}{end} The answer is"


def masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text before the five masks, and the masks."""
    return prompt(doc) + 5 * " <mask>"


def target(doc: Mapping[str, Any]) -> str:
    """The answer."""
    return str(doc["answer"]).strip()


def results(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, float]:
    """The metrics of one example."""
    return containment_metrics(prompt(doc), target(doc), responses[0])


def masked_results(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, float]:
    """The metric of one example of a masked model, whose text LASER looks at without the prompt too."""
    return {"acc": float(contains(target(doc), responses[0]))}
