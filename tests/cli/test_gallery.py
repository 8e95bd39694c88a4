"""``cti-edits gallery``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.command import run_here
from tests.support.pages_of_html import read

PUBLISHED = ROOT / "edits" / "gptj_fever.json"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder, name in (("a", "one"), ("b", "two")):
        (tmp_path / folder).mkdir()
        shutil.copy(PUBLISHED, tmp_path / folder / f"{name}.json")
    return tmp_path


def test_edits_of_several_folders_are_one_page_with_links_to_theirs(here: Path) -> None:
    (here / "b" / "two.html").touch()
    done = run_here("gallery", "a", "b")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "wrote gallery.html: 2 edits\n")
    page = read((here / "gallery.html").read_text("utf-8"))
    assert [row[1] for row in next(iter(page.tables.values()))[1:]] == ["one", "two"]
    assert page.addresses == ["b/two.html"]


def test_a_file_that_is_no_edit_is_left_out_and_named(here: Path) -> None:
    (here / "a" / "zero.json").write_text("{}")
    done = run_here("gallery", "a", "-o", "page.html")
    assert done.returncode == 2
    assert done.stdout == "wrote page.html: 1 edit\n"
    assert done.stderr.startswith("cti-edits: error: a/zero.json: ")
    assert len(done.stderr.splitlines()) == 1
    assert "Left out: a/zero.json" in read((here / "page.html").read_text("utf-8")).text


@pytest.mark.parametrize(
    ("folder", "said"),
    [("empty", "empty: no edits here"), ("nowhere", "nowhere: expected a folder with edit manifests")],
)
def test_folders_without_edits_are_refused(folder: str, said: str, here: Path) -> None:
    (here / "empty").mkdir()
    done = run_here("gallery", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"cti-edits: error: {said}\n"
    assert not (here / "gallery.html").exists()
