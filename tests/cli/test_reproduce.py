"""The command; what it runs is tests/search/test_reproduce.py's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
from tests.conftest import Run
from tests.support.command import run_here

SMALL = ("--samples", "6", "--directions", "4", "--drops", "1", "--test-rows", "5", "--no-control", "--device", "cpu")


@pytest.fixture(scope="module")
def found(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("found") / "edit.json"
    done = run_here("search", "--task", "capitals", "--model", llama, "--output", place, *SMALL)
    assert done.returncode == 0, done.stderr
    return place


def test_the_same_file_is_found_and_written(found: Path, tmp_path: Path) -> None:
    done = run_here("reproduce", found, "--device", "cpu", "--output", tmp_path / "again.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reproduced to the byte")
    again, first = (json.loads(file.read_text()) for file in (tmp_path / "again.json", found))
    assert again | {"provenance": None} == first | {"provenance": None}


def test_another_seed_was_recorded(found: Path, tmp_path: Path) -> None:
    """A manifest that does not tell the truth; the rows of its search are others, so that nothing is run."""
    edit = load(found)
    assert edit.search is not None
    wrong = dataclasses.replace(edit, search=dataclasses.replace(edit.search, seed=5))
    wrong.write(tmp_path / "wrong.json")
    done = run_here("reproduce", tmp_path / "wrong.json", "--device", "cpu", "--json")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["grade"], told["found_digest"], told["figures"]) == ("not reproduced", None, [])
    assert told["recorded_digest"] == wrong.digest()
    assert [one["what"] for one in told["changed"]] == ["rows"]


def test_what_cannot_be_run_again_is_one_line(run_command: Run, found: Path, tmp_path: Path) -> None:
    edit = load(found)
    assert edit.task is not None
    dataclasses.replace(edit, task=dataclasses.replace(edit.task, name="mine")).write(tmp_path / "mine.json")
    done = run_command("cti-edits", "reproduce", str(tmp_path / "mine.json"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("; where the search was on rows of one's own, give these (--data)\n")
    assert len(done.stderr.splitlines()) == 1
