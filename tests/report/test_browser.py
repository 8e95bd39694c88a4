"""Pages in Chromium: nothing on the console, no request, no overflow, no fault that axe-core finds, and what prints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.cli.search_command import commands
from cti_edits.report.edit_report import edit_report
from cti_edits.report.gallery import gallery
from tests.conftest import ROOT
from tests.support.browser import CHROMIUM, WIDTHS, Scheme, chromium, opened
from tests.support.edits import EDIT_2
from tests.support.reports import HUGE, SCRIPT, hostile, hostile_details, judged, searched

pytestmark = pytest.mark.skipif(
    not CHROMIUM.is_file() and "CI" not in os.environ,
    reason="Chromium is not installed (apt-get install chromium); see CONTRIBUTING.md",
)
FIGURES = {
    "cl-100g-100e": {"accuracy", "answers", "scores", "tried", "compute", "sigma"},
    "sigma-step": {"accuracy", "answers", "scores", "directions", "tried", "compute", "sigma"},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, by name."""
    folder = tmp_path_factory.mktemp("pages")
    texts: dict[str, str] = {}
    for preset in FIGURES:
        found = searched(tmp_path_factory.mktemp("rows"), preset)
        edit = judged(found.edit)
        texts[preset] = edit_report(edit, found.details, commands(edit, "edits/tiny.json"))
    for name, text in (("script", SCRIPT), ("huge", HUGE)):
        texts[name] = edit_report(hostile(text), hostile_details(text), commands(hostile(text), text))
    published = load(ROOT / "edits" / "gptj_fever.json")
    texts["published"] = edit_report(published, None, commands(published, "edits/gptj_fever.json"))
    files = [*sorted((ROOT / "edits").glob("gptj_*.json"))[:8], EDIT_2 / "every_field.json"]
    edits = [
        *((file, load(file)) for file in files),
        (Path("x.json"), hostile(SCRIPT)),
        (Path("y.json"), hostile(HUGE)),
    ]
    texts["gallery"] = gallery(edits, folder / "gallery.html", ["z.json: no edit"])
    files_of = {name: folder / f"{name}.html" for name in texts}
    for name, text in texts.items():
        files_of[name].write_text(text, encoding="utf-8")
    return files_of


@pytest.mark.parametrize("name", [*FIGURES, "script", "huge", "published", "gallery"])
def test_a_page_is_quiet_fits_and_is_accessible(browser: object, pages: dict[str, Path], name: str) -> None:
    for scheme in get_args(Scheme):
        with opened(browser, pages[name], scheme) as page:  # type: ignore[arg-type]
            assert {width: max(0, page.overflow(width)) for width in WIDTHS} == dict.fromkeys(WIDTHS, 0)
            assert page.faults() == []
            assert page.said == []
            assert page.asked == [pages[name].as_uri()]
