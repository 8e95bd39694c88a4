"""From one version of the manifest to the next and back. Whole files are in test_manifest.py and test_records.py."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.manifest import load, parse
from cti_edits.artifact.versions import MIGRATIONS, NEW_IN_2, NEWEST, OLDEST, fits_1, to_1, to_2
from cti_edits.paths import folder
from tests.artifact.test_records import manifests
from tests.support.edits import DATA, EDIT_1, EDIT_2, full_2

FIRST = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(EDIT_1.glob("*.json"))]
SECOND = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(EDIT_2.glob("*.json"))]


def text(document: dict[str, Any]) -> str:
    """The order of keys is that of the written file, and 1 is not 1.0."""
    return json.dumps(document)


def digest(document: dict[str, Any]) -> str:
    return parse(text(document).encode()).digest()


@given(manifests(1))
def test_version_1_goes_to_2_and_back_as_it_was(document: dict[str, Any]) -> None:
    before = text(document)
    newer = to_2(document)
    assert newer["schema_version"] == 2
    assert "method" not in newer
    assert [next(iter(one.items())) for one in newer["edits"]] == [("method", "block-svd")] * len(document["edits"])
    assert fits_1(newer)
    assert json.dumps(to_1(newer), sort_keys=True) == json.dumps(document, sort_keys=True)
    assert text(document) == before


@pytest.mark.parametrize("document", FIRST, ids=lambda document: document["name"])
def test_a_fixture_goes_to_2_and_back_key_by_key(document: dict[str, Any]) -> None:
    assert text(to_1(to_2(document))) == text(document)


@given(manifests(2))
def test_version_2_goes_to_1_and_back_where_1_can_say_it(document: dict[str, Any]) -> None:
    document["edits"] = document["edits"][:1]
    search = document["search"]
    added = search is not None and (any(key in search for key in NEW_IN_2) or search["rates"] == [])
    assert fits_1(document) == (not added)
    if added:
        return
    before = text(document)
    older = to_1(document)
    assert older["method"] == "block-svd"
    assert json.dumps(to_2(older), sort_keys=True) == json.dumps(document, sort_keys=True)
    assert text(document) == before
    assert digest(older) == digest(document)
    assert parse(before.encode()).to_json() == older


@pytest.mark.parametrize("document", FIRST, ids=lambda document: document["name"])
def test_the_digest_is_that_of_the_oldest_version_that_can_say_it(document: dict[str, Any]) -> None:
    newer = to_2(document)
    assert digest(newer) == digest(document)
    assert parse(text(newer).encode()) == parse(text(document).encode())


def test_a_file_of_version_2_that_1_can_say_is_written_as_1(tmp_path: Path) -> None:
    for document in FIRST:
        (tmp_path / "newer.json").write_text(text(to_2(document)))
        edit = load(tmp_path / "newer.json")
        assert json.loads(edit.write(tmp_path / "again.json").read_text()) == document


def test_every_published_edit_has_one_digest_in_both_versions() -> None:
    published = json.loads((DATA / "published_digests.json").read_text(encoding="utf-8"))
    for name, expected in published.items():
        document = json.loads((folder("edits") / f"{name}.json").read_text(encoding="utf-8"))
        assert digest(to_2(document)) == expected


@pytest.mark.parametrize("document", SECOND, ids=lambda document: document["name"])
def test_the_fixtures_of_version_2_say_what_1_cannot(document: dict[str, Any]) -> None:
    assert not fits_1(document)


@pytest.mark.parametrize("key", NEW_IN_2)
def test_one_new_key_of_the_search_is_enough(key: str) -> None:
    document = full_2()
    document["edits"] = document["edits"][:1]
    search = json.loads((DATA / "edit-2" / "every_part.json").read_text(encoding="utf-8"))["search"]
    document["search"] = {name: value for name, value in search.items() if name == key or name not in NEW_IN_2}
    assert not fits_1(document)
    del document["search"][key]
    assert fits_1(document)


def test_a_search_without_rates_is_not_of_version_1() -> None:
    document = full_2()
    document["edits"] = []
    document["search"] = {name: value for name, value in document["search"].items() if name not in NEW_IN_2}
    assert fits_1(document)
    document["search"]["rates"] = []
    assert not fits_1(document)
    assert parse(text(document).encode()).to_json() == document


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_edit_of_another_method_is_enough(number: int) -> None:
    document = full_2()
    document["search"] = None
    document["edits"] = [document["edits"][0], document["edits"][number]]
    assert not fits_1(document)


def test_every_older_version_has_a_way_on() -> None:
    assert (OLDEST, NEWEST) == (1, 2)
    assert {1: to_2} == MIGRATIONS


@given(st.integers(0, 3), st.sampled_from(["rho", "sigma"]))
def test_the_steps_change_nothing_that_they_are_given(number: int, key: str) -> None:
    document = copy.deepcopy(SECOND[1])
    document["edits"].append({"method": "block-svd", key: [number]})
    before = copy.deepcopy(document)
    made = to_1(document)
    made["edits"][-1]["added"] = 1
    made["metadata"] = {}
    assert document == before
