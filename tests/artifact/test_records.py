"""The records of a manifest: whatever the schema allows becomes the same JSON again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.asked import AskedPrompt
from cti_edits.artifact.manifest import Edit, load, parse
from cti_edits.artifact.records import Measurement, PartRecord, Reported, Results
from cti_edits.artifact.versions import NEW_IN_2
from cti_edits.paths import folder

DATA = Path(__file__).parents[1] / "data"
FIXTURES = DATA / "edit-1"
SCHEMAS: dict[int, dict[str, Any]] = {
    version: json.loads((folder("schemas") / f"edit-{version}.schema.json").read_text(encoding="utf-8"))
    for version in (1, 2)
}
ASKED: dict[str, Any] = json.loads((FIXTURES / "asked.json").read_text(encoding="utf-8"))
EDITS = {1: ASKED["edits"], 2: json.loads((DATA / "edit-2" / "every_field.json").read_text(encoding="utf-8"))["edits"]}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def values(rule: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a part of the schema allows: every object with any of its optional keys, every number as 1 and as 1.0."""
    if "$ref" in rule:
        return values(defs[rule["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in rule:
        return st.one_of([values(one, defs) for one in rule["anyOf"]])
    if "const" in rule or "enum" in rule:
        return st.sampled_from(rule.get("enum") or [rule["const"]])
    kinds: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
        "null": lambda _: st.none(),
        "boolean": lambda _: st.booleans(),
        "string": strings,
        "integer": lambda rule: st.integers(rule["minimum"], rule["maximum"]),
        "number": numbers,
        "array": lambda rule: st.lists(values(rule["items"], defs), min_size=rule.get("minItems", 0), max_size=2),
        "object": lambda rule: objects(rule, defs),
    }
    return kinds[rule["type"]](rule)


def strings(rule: dict[str, Any]) -> st.SearchStrategy[str]:
    pattern = rule.get("pattern")
    return TEXT if pattern is None else st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) < 900)


def numbers(rule: dict[str, Any]) -> st.SearchStrategy[float]:
    low, high = rule.get("minimum", 1), rule.get("maximum")
    return st.integers(low, high or 10**9) | st.floats(low, high, allow_infinity=False)


def objects(rule: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in rule:
        return st.dictionaries(TEXT, values(rule.get("additionalProperties", {"type": "string"}), defs), max_size=2)
    kinds = {key: values(one, defs) for key, one in rule["properties"].items()}
    required = {key: one for key, one in kinds.items() if key in rule.get("required", ())}
    return st.fixed_dictionaries(required, optional={key: one for key, one in kinds.items() if key not in required})


def manifests(version: int) -> st.SearchStrategy[dict[str, Any]]:
    """Manifests with the matrix edits of a fixture, whose ranks no schema can say."""
    schema = SCHEMAS[version]

    def completed(document: dict[str, Any]) -> dict[str, Any]:
        for measured in document["results"].values():
            if measured is not None and "ci95" in measured:
                measured["ci95"].sort()
        return {**document, "edits": copy.deepcopy(EDITS[version])}

    properties = {key: one for key, one in schema["properties"].items() if key != "edits"}
    required = [key for key in schema["required"] if key != "edits"]
    return objects({"properties": properties, "required": required}, schema["$defs"]).map(completed)


@given(st.one_of([manifests(version) for version in SCHEMAS]))
def test_any_valid_manifest_becomes_the_same_json_again(document: dict[str, Any]) -> None:
    """As text, since to Python 1, 1.0 and true are equal."""
    again = parse(json.dumps(document).encode()).to_json()
    assert json.dumps(again, sort_keys=True) == json.dumps(document, sort_keys=True)


def read(**search: Any) -> Edit:
    """The fixture's edit with other keys of ``search``; those that are None are left out."""
    changed = {**ASKED["search"], **search}
    changed = {key: value for key, value in changed.items() if value is not None or key in ("preset", "top_q")}
    return parse(json.dumps({**ASKED, "search": changed}).encode())


def test_the_figures_of_a_fixture() -> None:
    results = load(FIXTURES / "every_field.json").results
    assert results.test == Measurement(10000, 0.51, 0.57, 0.55, 0.75, 0.7, (-0.01, 0.13), 0.109)
    assert results.reported == Reported("a table", 0.5, 1)
    assert Results(None, Measurement(10, 0.1, 0.9, 0.5)).to_json() == {
        "calibration": None,
        "test": {"n": 10, "baseline": 0.1, "edited": 0.9, "majority_class": 0.5},
    }


def test_the_search_of_a_fixture_of_version_2() -> None:
    search = load(DATA / "edit-2" / "every_field.json").search
    assert search is not None
    assert (search.method, search.scorer, search.selector) == ("directions", "sum-of-gradients", "best")
    assert (search.directions, search.drops) == ((64, 256), (0.1, 0.3, 1))
    assert search.parts == (PartRecord("scorer", "sum-of-gradients", "cti-edits-example", "0.1.0"),)
    older = load(FIXTURES / "asked.json").search
    assert older is not None
    assert [getattr(older, key) for key in NEW_IN_2] == [None] * len(NEW_IN_2)


def test_a_key_that_is_left_out_and_one_that_is_null() -> None:
    edit = read(preset=None, evaluated_on=None, row_hashes=None)
    assert edit.search is not None
    assert (edit.search.preset, edit.search.evaluated_on, edit.search.row_hashes) == (None, None, None)
    found = edit.to_json()["search"]
    assert found["preset"] is None
    assert not {"evaluated_on", "row_hashes"} & set(found)


@pytest.mark.parametrize("asked", [None, {}, {"prompt": {}}, {"prompt": {"num_fewshot": 0}, "task": {}}])
def test_what_was_asked_may_be_left_out_in_whole_or_in_part(asked: dict[str, Any] | None) -> None:
    """As it is written, it is in the digest."""
    edit = read(asked=asked)
    assert edit.to_json()["search"].get("asked") == asked
    assert edit.search is not None
    if asked is None:
        assert edit.search.asked is None
    else:
        assert edit.search.asked is not None
        assert edit.search.asked.prompt == AskedPrompt(**asked.get("prompt", {}))
    spellings: list[dict[str, Any] | None] = [None, {}, {"prompt": {}}]
    others = [read(asked=other) for other in spellings if other != asked]
    assert edit.digest() not in [other.digest() for other in others]
    assert all(other != edit for other in others)
