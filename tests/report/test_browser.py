"""Pages in Chromium: nothing on the console, no request, no overflow, no fault that axe-core finds, and what prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cti_edits.artifact.manifest import load
from cti_edits.cli.search_command import commands
from cti_edits.report.edit_report import edit_report
from cti_edits.report.gallery import gallery
from tests.conftest import ROOT
from tests.support.browser import CHROMIUM, SCHEMES, WIDTHS, OpenedPage, chromium, opened
from tests.support.edits import EDIT_2
from tests.support.reports import HUGE, SCRIPT, Searched, hostile, hostile_details, judged

# `.ci/run` says so, and installs it.
NEEDED = "CTI_EDITS_NEEDS_CHROMIUM"
pytestmark = pytest.mark.skipif(
    not CHROMIUM.is_file() and NEEDED not in os.environ,
    reason="Chromium is not installed (apt-get install chromium); see CONTRIBUTING.md",
)
FIGURES = {"accuracy", "answers", "scores", "directions", "tried", "compute", "sigma"}
"""Of a search with directions."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def page_of(folder: Path, found: Searched) -> Path:
    """The page of a search, measured as if it had found something."""
    file = folder / "searched.html"
    file.write_text(edit_report(judged(found.edit), found.details, commands(found.edit, "edits/tiny.json")), "utf-8")
    return file


@pytest.fixture(scope="module")
def searched_page(folder: Path, searches: Mapping[str, Searched]) -> Path:
    """Of a search with directions, which has every figure."""
    return page_of(folder, searches["sigma-step"])


def stranger_s_page(folder: Path, text: str) -> Path:
    file = folder / "stranger.html"
    file.write_text(edit_report(hostile(text), hostile_details(text), commands(hostile(text), text)), "utf-8")
    return file


def gallery_page(folder: Path) -> Path:
    files = [*sorted((ROOT / "edits").glob("gptj_*.json"))[:8], EDIT_2 / "every_field.json"]
    edits = [
        *((file, load(file)) for file in files),
        (Path("x.json"), hostile(SCRIPT)),
        (Path("y.json"), hostile(HUGE)),
    ]
    file = folder / "gallery.html"
    file.write_text(gallery(edits, file, ["z.json: no edit"]), "utf-8")
    return file


def check_quiet(page: OpenedPage, file: Path) -> None:
    """It fits phone and desktop, says nothing on the console, and asks for nothing but itself."""
    assert {width: max(0, page.overflow(width)) for width in WIDTHS} == dict.fromkeys(WIDTHS, 0)
    assert page.said == []
    assert page.asked == [file.as_uri()]


def check(browser: Browser, file: Path) -> None:
    """The same, and no fault in light or dark."""
    with opened(browser, file) as page:
        for scheme in SCHEMES:
            assert page.faults(scheme) == []
        check_quiet(page, file)


def test_the_page_of_a_search_fits_and_is_accessible(browser: Browser, searched_page: Path) -> None:
    check(browser, searched_page)


def test_every_figure_is_drawn_and_has_a_table_to_open(browser: Browser, searched_page: Path) -> None:
    with opened(browser, searched_page) as page:
        page.overflow(WIDTHS[0])
        figures = page.page.locator("figure")
        assert {figures.nth(place).get_attribute("id") for place in range(figures.count())} == FIGURES
        for key in FIGURES:
            box = page.page.locator(f"#{key} > svg").bounding_box()
            assert box is not None
            assert box["width"] > 200
            assert box["height"] > 80
            table = page.page.locator(f"#{key} table")
            assert not table.is_visible()
            page.page.locator(f"#{key} summary").click()
            assert table.is_visible()
        # A table that is wide scrolls in itself.
        check_quiet(page, searched_page)


def test_it_prints_light_whatever_the_screen(browser: Browser, searched_page: Path) -> None:
    with opened(browser, searched_page) as page:
        page.page.emulate_media(media="print", color_scheme="dark")
        paper = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        assert not page.page.locator("summary").first.is_visible()
        printed = page.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    # It takes a few sheets, and nothing makes it an endless one.
    assert 2 <= len(re.findall(rb"/Type /Page\b", printed)) <= 12


def test_texts_without_a_place_to_break_fit(browser: Browser, folder: Path) -> None:
    file = stranger_s_page(folder, HUGE)
    with opened(browser, file) as page:
        check_quiet(page, file)


@pytest.mark.thorough
def test_a_stranger_s_scripts_do_not_run(browser: Browser, folder: Path) -> None:
    check(browser, stranger_s_page(folder, SCRIPT))


@pytest.mark.thorough
def test_the_page_of_rank_cuts(browser: Browser, folder: Path, searches: Mapping[str, Searched]) -> None:
    check(browser, page_of(folder, searches["cl-100g-100e"]))


@pytest.mark.thorough
def test_the_page_of_a_manifest_alone(browser: Browser, folder: Path) -> None:
    published = load(ROOT / "edits" / "gptj_fever.json")
    file = folder / "published.html"
    file.write_text(edit_report(published, None, commands(published, "edits/gptj_fever.json")), "utf-8")
    check(browser, file)


def test_a_gallery_is_searched_filtered_and_sorted(browser: Browser, folder: Path) -> None:
    file = gallery_page(folder)
    check(browser, file)
    with opened(browser, file) as opened_page:
        page = opened_page.page
        rows = page.locator("#edits tbody tr:visible")
        assert (rows.count(), page.locator("#count").inner_text()) == (11, "11 of 11 edits")
        page.get_by_label("Search").fill("gptj GENDER laser")
        assert {rows.nth(place).locator("td").nth(1).inner_text() for place in range(rows.count())} == {
            "gptj_bios_gender.cl-laser"
        }
        page.get_by_label("Search").fill("")
        page.get_by_label("Verdict").select_option("no evidence")
        assert page.locator("#count").inner_text() == "3 of 11 edits"
        page.get_by_label("Verdict").select_option("")
        page.get_by_label("compare y", exact=True).check()
        page.get_by_label("only those that are ticked").check()
        assert page.locator("#count").inner_text() == "1 of 11 edits"
        page.get_by_label("only those that are ticked").uncheck()
        for order in ("ascending", "descending"):
            page.get_by_role("button", name="points").click()
            assert page.locator("th[aria-sort]").get_attribute("aria-sort") == order
            keys = [float(key) for key in page.locator("#edits tbody tr td:nth-child(10)").evaluate_all(
                "cells => cells.map(cell => cell.dataset.key)"
            )]  # fmt: skip
            assert keys == sorted(keys, reverse=order == "descending")
        assert opened_page.said == []
