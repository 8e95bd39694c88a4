"""Rows, prompts and metric of ``cti_counterfact``: the true fact behind each of CounterFact's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cti_edits.harness.benchmark_metrics import same_text
from cti_edits.harness.benchmark_rows import BenchmarkRows, HubCopy, Row, benchmark


def counterfact(path: str, revision: str | None = None, **_: Any) -> BenchmarkRows:
    """Each record's rewrite prompt and its two paraphrases, in record order."""
    return benchmark("counterfact.jsonl", {"prompt": str, "answer": str}, HubCopy(path, revision), from_hub)


def from_hub(hub: HubCopy) -> list[Row]:
    """The records of all splits, in the order of the original file, which is that of ``case_id``."""
    found = hub.rows(None, ("case_id", "requested_rewrite", "paraphrase_prompts"))
    records = {record["case_id"]: record for record in found}
    return [row for _, record in sorted(records.items()) for row in prompts_of(record)]


def prompts_of(record: Row) -> list[Row]:
    """The rewrite prompt and the paraphrases of one record."""
    rewrite = record["requested_rewrite"]
    texts = [rewrite["prompt"].replace("{}", rewrite["subject"]), *record["paraphrase_prompts"]]
    return [{"prompt": text, "answer": rewrite["target_true"]["str"]} for text in texts]


def prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    return str(doc["prompt"]).strip()


def masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text around the mask."""
    return f"{prompt(doc)} <mask>."


def target(doc: Mapping[str, Any]) -> str:
    """The answer."""
    return str(doc["answer"]).strip()


def results(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, float]:
    """Whether the one token that the model gives is the answer."""
    return {"acc": float(same_text(target(doc), responses[0]))}
