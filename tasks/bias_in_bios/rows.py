"""Rows, prompts and metrics of ``cti_bios_gender`` and ``cti_bios_profession`` (Bias in Bios)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cti_edits.harness.benchmark_metrics import label_metrics
from cti_edits.harness.benchmark_rows import BenchmarkRows, Fields, HubCopy, Row, benchmark

GENDERS = ("male", "female")
# The eight that LASER keeps of the data set's 28, since they are one token of its models' tokenizers, in its order. The
# data set numbers all of them alphabetically, from accountant, 0, to yoga_teacher, 27.
PROFESSIONS = {
    "journalist": 11,
    "poet": 20,
    "composer": 5,
    "model": 12,
    "teacher": 26,
    "architect": 1,
    "painter": 14,
    "professor": 21,
}

FILE = "bias_in_bios.jsonl"
FIELDS: Fields = {"hard_text": str, "profession": tuple(range(28)), "gender": (0, 1)}


# Stands for the rows where there are none, in the groups of all tasks; nothing is measured on it.
STAND_IN: Row = {"hard_text": "", "profession": 11, "gender": 0, "stand_in": True}


def bios_gender(path: str, revision: str | None = None, may_be_absent: bool = False, **_: Any) -> BenchmarkRows:
    """All rows of dev."""
    return benchmark(FILE, FIELDS, HubCopy(path, revision), from_hub, stand_in=STAND_IN if may_be_absent else None)


def bios_profession(path: str, revision: str | None = None, may_be_absent: bool = False, **_: Any) -> BenchmarkRows:
    """The rows of dev that have one of the eight professions."""
    stand_in = STAND_IN if may_be_absent else None
    return benchmark(FILE, FIELDS, HubCopy(path, revision), from_hub, of_the_eight, stand_in)


def from_hub(hub: HubCopy) -> list[Row]:
    """The rows of dev."""
    return hub.rows("dev", tuple(FIELDS))


def of_the_eight(rows: list[Row]) -> list[Row]:
    """The rows that have one of the eight professions."""
    return [row for row in rows if row["profession"] in PROFESSIONS.values()]


def opening(doc: Mapping[str, Any]) -> str:
    """What every prompt begins with."""
    text = doc["hard_text"].strip()
    end = "" if text.endswith((".", "?")) else "."
    return f"Consider the following text: {text}{end}"


def gender_prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    return f"{opening(doc)} Is the person in this text a male or female? The gender of this person is"


def gender_masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text around the mask."""
    return f"{opening(doc)} Is the person in this text a male or female? This person is <mask>."


def gender_choices(_: Mapping[str, Any]) -> list[str]:
    """The labels."""
    return list(GENDERS)


def gender_target(doc: Mapping[str, Any]) -> int:
    """Index of the gold answer among the choices."""
    return int(doc["gender"])


def gender_results(doc: Mapping[str, Any], responses: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """The metrics of one example."""
    return {} if doc.get("stand_in") else label_metrics(GENDERS, gender_target(doc), responses)


def profession_prompt(doc: Mapping[str, Any]) -> str:
    """The text before the answer."""
    return f"{opening(doc)} What is the profession of the person in this text? The profession of this person is"


def profession_masked_prompt(doc: Mapping[str, Any]) -> str:
    """The text around the mask."""
    return f"{opening(doc)} The profession of the person in the text is called <mask>."


def profession_choices(_: Mapping[str, Any]) -> list[str]:
    """The labels."""
    return list(PROFESSIONS)


def profession_target(doc: Mapping[str, Any]) -> int:
    """Index of the gold answer among the choices."""
    return list(PROFESSIONS.values()).index(doc["profession"])


def profession_results(doc: Mapping[str, Any], responses: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """The metrics of one example."""
    return {} if doc.get("stand_in") else label_metrics(list(PROFESSIONS), profession_target(doc), responses)
