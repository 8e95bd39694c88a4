"""How a picture becomes a part of a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure as Canvas

from cti_edits.report.figures import ACCENT, MOST_ROWS, drawn, log_x_axis, name_text, percent_axis
from tests.support.reports import SCRIPT

SVG = "{http://www.w3.org/2000/svg}"


def points(canvas: Canvas) -> None:
    axes = canvas.subplots()
    axes.plot([1, 1000], [0.25, 0.5], color=ACCENT, label=name_text(SCRIPT))
    log_x_axis(axes)
    percent_axis(axes.yaxis)
    canvas.legend()


def test_it_has_title_and_description_and_the_colours_of_the_page() -> None:
    figure = drawn("key", "Title & <so>", "What it <shows>", ("a",), [("1",)], points)
    root = ElementTree.fromstring(figure.svg)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "key-title key-desc"
    said = {one.get("id"): one.text for one in root.iter() if one.tag in (f"{SVG}title", f"{SVG}desc")}
    assert said == {"key-title": "Title & <so>", "key-desc": "What it <shows>"}
    # It is as wide as the page has room for.
    assert {"width", "height"}.isdisjoint(root.keys())
    assert "viewBox" in root.keys()  # noqa: SIM118 (an element is no mapping)
    text = str(figure.svg)
    assert f"var(--accent, {ACCENT})" in text
    assert "<style" not in text
    assert "<metadata" not in text


def test_names_in_two_pictures_do_not_meet() -> None:
    def names(key: str) -> set[str]:
        text = str(drawn(key, "t", "d", ("a",), [], points).svg)
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
        found = set(re.findall(r' id="([^"]+)"', text))
        assert used
        assert used <= found
        return found

    assert names("a").isdisjoint(names("b"))


def test_the_same_bytes_for_the_same_figures_whatever_a_person_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    first = drawn("key", "t", "d", ("a",), [], points)
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 20)
    monkeypatch.setitem(mpl.rcParams, "font.size", 40)
    assert drawn("key", "t", "d", ("a",), [], points) == first


def test_a_long_table_is_cut_and_says_how_long_it_was() -> None:
    figure = drawn("key", "t", "d", ("a",), [(str(number),) for number in range(MOST_ROWS + 5)], lambda _: None)
    assert (len(figure.rows), figure.count) == (MOST_ROWS, MOST_ROWS + 5)


def test_a_name_is_short_and_of_one_line_and_no_formula(recwarn: pytest.WarningsRecorder) -> None:
    assert name_text("a\nb" + "c" * 50) == "a\\nb" + "c" * 17 + "…"

    def labelled(canvas: Canvas) -> None:
        # A formula that is not one would be an error, and a script that the font has not a warning.
        canvas.subplots().set_xlabel(name_text("$x_{$ 中文"))

    drawn("key", "t", "d", ("a",), [], labelled)
    assert not recwarn.list


def test_axes_say_shares_and_sizes_as_people_write_them() -> None:
    canvas = Canvas()
    axes = canvas.subplots()
    axes.plot([30, 2_000_000], [0.25, 0.5])
    log_x_axis(axes)
    percent_axis(axes.yaxis)
    assert [axes.xaxis.get_major_formatter()(value) for value in (30, 2e3, 5e6, 1e9)] == ["30", "2 k", "5 M", "1 G"]
    assert axes.yaxis.get_major_formatter()(0.125) == "12.5 %"
