"""The end of a search is read from its log as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.errors import EditError, ManifestError
from cti_edits.search.finished_search import FinishedSearch, read_finished
from cti_edits.search.search_log import SearchLog
from tests.support.edits import EDIT_1
from tests.support.reports import hostile_details

FOUND = FinishedSearch(load(EDIT_1 / "every_field.json"), hostile_details("<script>"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.search.jsonl"
    with SearchLog(path) as log:
        log.begin({"settings": {"rates": [0.5]}})
        log.steps.put("evaluation", ({"a": 1}, {}), ({"a": 2}, {}))
        log.finish(FOUND.to_json())
    return path


def test_there_and_back(log: Path) -> None:
    found = read_finished(log)
    assert found.edit.to_json() == FOUND.edit.to_json()
    assert found.details == FOUND.details
    # Another process may be about to go on with it, and write a line.
    with SearchLog(log):
        log.write_bytes(log.read_bytes() + b'{"step')
        assert read_finished(log).details == FOUND.details


def test_a_search_that_has_not_ended(log: Path) -> None:
    with SearchLog(log, extend=True) as opened:
        opened.begin({"settings": {"rates": [0.5, 0.1]}})
        opened.steps.put("evaluation", ({"a": 3}, {}))
    with pytest.raises(EditError, match=r"^[^\n]*the search has not ended, 3 candidates are evaluated; [^\n]*$"):
        read_finished(log)


def test_what_is_no_end(log: Path, tmp_path: Path) -> None:
    lines = log.read_text().splitlines()
    last = json.loads(lines[-1])["finished"]
    for finished, said in (
        ({"manifest": last["manifest"]}, 'line 5: the key "details" is missing'),
        ({**last, "manifest": {**last["manifest"], "name": 1}}, "line 5: name: expected a string"),
        ({**last, "details": {}}, "line 5: "),
    ):
        log.write_text("\n".join([*lines[:-1], json.dumps({"finished": finished})]) + "\n")
        with pytest.raises((EditError, ManifestError)) as refused:
            read_finished(log)
        assert str(refused.value).startswith(f"{log}: {said}")
        assert "\n" not in str(refused.value)
    with pytest.raises(EditError, match="none: cannot be read: No such file"):
        read_finished(tmp_path / "none")
