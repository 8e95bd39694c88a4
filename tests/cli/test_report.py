"""``cti-edits report``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.command import run_here
from tests.support.edits import EDIT_1
from tests.support.pages_of_html import read

PUBLISHED = ROOT / "edits" / "gptj_fever.json"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_the_page_here_under_the_edit_s_name(here: Path) -> None:
    done = run_here("report", PUBLISHED)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "wrote gptj_fever.html\n")
    page = read((here / "gptj_fever.html").read_text("utf-8"))
    assert page.title == "gptj_fever: report"
    # The commands have the file as it was given.
    assert f"cti-edits verify {PUBLISHED}" in page.text


def test_it_writes_where_it_is_told_and_over_what_is_there(here: Path) -> None:
    (here / "ρ.html").write_text("former")
    done = run_here("report", EDIT_1 / "every_field.json", "-o", "ρ.html")
    assert (done.returncode, done.stdout) == (0, "wrote ρ.html\n")
    assert "accuracy" in read((here / "ρ.html").read_text("utf-8")).figures
    assert [file.name for file in here.iterdir()] == ["ρ.html"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.json",), "nowhere.json: expected an edit manifest"),
        ((str(PUBLISHED), "-o", "/dev/null/page.html"), "/dev/null/page.html"),
        ((str(PUBLISHED), "-o", "."), ".: "),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line(words: tuple[str, ...], said: str, here: Path) -> None:
    done = run_here("report", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert list(here.iterdir()) == []
