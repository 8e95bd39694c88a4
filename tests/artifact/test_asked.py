"""The record of what was asked: what is written of it, how it is read, and in which fields two differ."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.asked import PARTS, Asked, AskedModel, AskedPrompt, AskedTask, Difference

FIXTURE = Path(__file__).parents[1] / "data" / "edit-1" / "asked.json"
EVERY: dict[str, dict[str, Any]] = json.loads(FIXTURE.read_text(encoding="utf-8"))["search"]["asked"]
FIELDS = [(part, field) for part, values in EVERY.items() for field in values]


def test_a_record_of_every_field_is_read_and_written() -> None:
    assert {part: set(values) for part, values in EVERY.items()} == {
        part: {field.name for field in dataclasses.fields(kind)} for part, kind in PARTS.items()
    }
    assert Asked.from_json(EVERY).to_json() == EVERY


def test_no_two_parts_have_a_field_of_one_name() -> None:
    """A difference is named by its field alone."""
    names = [field for _, field in FIELDS]
    assert len(names) == len(set(names))


def test_what_is_not_known_is_left_out() -> None:
    assert Asked().to_json() == {}
    assert Asked(prompt=AskedPrompt(num_fewshot=0, truncation=False)).to_json() == {
        "prompt": {"truncation": False, "num_fewshot": 0}
    }


def test_a_field_of_a_later_version_is_passed_over() -> None:
    assert Asked.from_json({"model": {"dtype": "float32", "of_tomorrow": 1}, "tomorrow": {}}) == Asked(
        AskedModel(dtype="float32")
    )


@pytest.mark.parametrize(("part", "field"), FIELDS, ids=lambda text: text)
def test_a_field_that_differs_is_the_one_that_is_named_and_changes_the_hash(part: str, field: str) -> None:
    first = Asked.from_json(EVERY)
    other = Asked.from_json({**EVERY, part: {**EVERY[part], field: None}})
    assert list(first.differences(other)) == [Difference(field, EVERY[part][field], None)]
    assert first.sha256() != other.sha256()


def test_equal_records_have_one_hash_whatever_the_order_of_their_keys() -> None:
    turned = {part: dict(reversed(values.items())) for part, values in reversed(EVERY.items())}
    assert list(turned) != list(EVERY)
    first, second = Asked.from_json(EVERY), Asked.from_json(turned)
    assert first.sha256() == second.sha256()
    assert list(first.differences(second)) == []


def test_true_is_not_one() -> None:
    first, second = (Asked.from_json({"prompt": {"add_bos_token": value}}) for value in (True, 1))
    assert first.prompt == second.prompt
    assert [one.field for one in first.differences(second)] == ["add_bos_token"]
    assert first.sha256() != second.sha256()


def test_differences_come_in_the_order_of_the_parts() -> None:
    first = Asked(AskedModel(dtype="float32"), AskedPrompt(max_length=3), AskedTask(metric="acc"))
    assert [one.field for one in Asked().differences(first)] == ["dtype", "max_length", "metric"]
