"""Pictures: SVG with a title and a description, the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from cti_edits.pictures import colour, svg, whole_numbers, write_svg

SVG = "{http://www.w3.org/2000/svg}"


def fill(figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], "o-", label="ρ <one> & other")
    whole_numbers(axes.xaxis)
    axes.legend()


def test_it_is_xml_with_title_and_description() -> None:
    root = ElementTree.fromstring(svg("σ < g & more", 'what "it" shows: 1 < 2 & 3 → 4', fill))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert (root[0].text, root[1].text) == ("σ < g & more", 'what "it" shows: 1 < 2 & 3 → 4')


def test_the_bytes_are_the_same_whatever_matplotlib_is_set_to() -> None:
    first = svg("title", "description", fill)
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "none", "axes.grid": True}):
        assert svg("title", "description", fill) == first
        assert mpl.rcParams["font.size"] == 30
    assert b"dc:date" not in first


def test_it_is_written_whole_over_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text("former")
    write_svg(tmp_path / "x.svg", "title", "description", fill)
    assert (tmp_path / "x.svg").read_bytes() == svg("title", "description", fill)
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


def test_there_is_a_colour_for_each_of_many_things() -> None:
    assert len({colour(number) for number in range(7)}) == 7
    assert colour(70) == colour(0)
