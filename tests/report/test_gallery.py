"""One page of many edits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import Results
from cti_edits.report.gallery import MOST_DRAWN, gallery
from tests.conftest import ROOT
from tests.support.edits import BASE, EDIT_1, directions, entry
from tests.support.pages_of_html import Read, read
from tests.support.reports import HELD_OUT, SCRIPT, hostile, judged

PUBLISHED = ROOT / "edits" / "gptj_fever.json"
FULL = EDIT_1 / "every_field.json"


def rows(page: Read) -> list[list[str]]:
    """Of the table of edits, without the headings and without the cell of the tick."""
    return [row[1:] for row in next(iter(page.tables.values()))[1:]]


def test_held_out_figures_come_first_then_others_that_say_what_they_are() -> None:
    full = load(FULL)
    calibration = dataclasses.replace(full, results=dataclasses.replace(full.results, test=None))
    nothing = Edit("none", "", BASE, ())
    page = read(
        gallery(
            [
                (Path("a/full.json"), judged(full)),
                (PUBLISHED, load(PUBLISHED)),
                (Path("a/calibration.json"), calibration),
                (Path("a/nothing.json"), nothing),
            ],
            Path("gallery.html"),
        )
    )
    found = {row[0]: row[1:] for row in rows(page)}
    assert found["full"][3:9] == ["better", "held out", "25.5 %", "48.5 %", "+23.0", "+15.9 to +29.6"]
    assert found["gptj_fever"][:2] == ["cti_fever", "EleutherAI/gpt-j-6b"]
    assert found["gptj_fever"][3:6] == ["not measured", "reported", "50.2 %"]
    assert found["calibration"][3:5] == ["not measured", "calibration"]
    assert found["nothing"] == [
        "", "tests/tiny", "nothing", "no edit", "", "", "", "", "", nothing.digest()[:12]
    ]  # fmt: skip
    # Of those that have figures, the largest difference first.
    assert page.tables["differences"][1][0] == "full"
    assert len(page.tables["differences"]) == 4


def test_what_an_edit_does_is_said_in_few_words() -> None:
    two = Edit("two", "", BASE, (entry(), directions(layer=3)))
    page = read(
        gallery([(Path("one.json"), Edit("one", "", BASE, (entry(),))), (Path("two.json"), two)], Path("g.html"))
    )
    of_one, of_both = (row[3] for row in rows(page))
    assert of_one.startswith("U_in 0: ")
    assert of_both == "block-svd, directions of 2 matrices"


def test_a_page_of_an_edit_is_linked_from_where_the_gallery_is(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "one#.html").touch()
    (tmp_path / "a b" / "gallery.html").touch()
    edit = Edit("one", "", BASE, (entry(),))
    found = [(tmp_path / "a b" / f"{name}.json", edit) for name in ("one#", "two", "gallery")]
    assert read(gallery(found, tmp_path / "pages.html")).addresses == ["a%20b/one%23.html", "a%20b/gallery.html"]
    assert read(gallery(found, tmp_path / "a b" / "gallery.html")).addresses == ["one%23.html"]


def test_what_was_left_out_is_named_and_no_text_is_obeyed() -> None:
    text = gallery([(Path(f"{SCRIPT[:20]}.json"), hostile(SCRIPT))], Path("g.html"), [f"bad.json: {SCRIPT}"])
    page = read(text)
    assert page.tags.count("script") == 1
    assert page.handlers == page.addresses == []
    assert f"Left out: bad.json: {SCRIPT[:30]}" in page.text
    alone = read(gallery([], Path("g.html"), ["bad.json: not JSON"]))
    assert alone.figures == {}
    assert "0 edits" in alone.text


def test_of_very_many_edits_the_figure_has_some_and_the_table_all() -> None:
    many = MOST_DRAWN + 10
    edits = [
        (
            Path(f"{number}.json"),
            Edit("one", "", BASE, (), results=Results(None, dataclasses.replace(HELD_OUT, edited=number / many))),
        )
        for number in range(many)
    ]
    page = read(gallery(edits, Path("g.html")))
    assert len(rows(page)) == many
    assert page.figures["differences"]["desc"].endswith(f"The first {MOST_DRAWN} of {many}.")
    assert len(page.tables["differences"]) == 1 + many
