"""The page of an edit: which sections it has, of a search, of a manifest alone, and of a stranger's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from cti_edits.artifact.manifest import Edit, load
from cti_edits.report.edit_report import MOST_TRIED, Command, edit_report
from cti_edits.search.details import TriedCandidate
from tests.conftest import ROOT
from tests.support.edits import BASE, EDIT_1
from tests.support.pages_of_html import read
from tests.support.reports import HUGE, SCRIPT, Searched, hostile, hostile_details, judged

SECTIONS = (
    "Beside the edit", "Results", "What was asked", "What it changes", "How it was found",
    "What changed in the answers", "Go on", "Where it is from",
)  # fmt: skip
OF_A_CUT = {"accuracy", "answers", "scores", "tried", "compute", "sigma"}
COMMANDS = (Command("Find it again", ("cti-edits search \\", "  --task 'a & b'")),)


def test_the_page_of_a_search_that_found_something() -> None:
    page = read(edit_report(judged(load(EDIT_1 / "every_field.json")), hostile_details("U_in"), COMMANDS))
    assert set(page.figures) == OF_A_CUT
    for key, about in page.figures.items():
        assert about["title"]
        assert about["desc"]
        # The headings, and a row at least.
        assert len(page.tables[key]) >= 2
    places = [page.text.index(f" {section} ") for section in SECTIONS]
    assert places == sorted(places)
    verdict = page.text.index("Better: 25.5 % → 48.5 % on 200 held-out rows")
    assert verdict < page.text.index("use that: the edit is not shown to do more") < places[0]
    for said in (
        "5 random edits of the same size: 24.5 to 27.0 %, on average 25.6 %; the edit is above 5 of them",
        "KL 0.0120 nats a token, perplexity 21.50 without and 21.70 with the edit (2,000 tokens, bundled)",
        "2 candidates were evaluated to the end; 1 were stopped when they could not win any more; 1 had a loss that",
        "1 are right with the edit alone and 1 with the base model alone",
        "cti-edits search \\ --task 'a & b'",
    ):
        assert said in page.text


@pytest.mark.parametrize("preset", ["cl-100g-100e", "sigma-step"])
def test_every_figure_of_a_real_search_is_there(searches: Mapping[str, Searched], preset: str) -> None:
    found = searches[preset]
    page = read(edit_report(found.edit, found.details, ()))
    directions = {"directions"} if preset == "sigma-step" else set()
    assert set(page.figures) == OF_A_CUT | directions
    assert "of 7 held-out rows" in page.figures["answers"]["desc"]
    assert f"{len(found.result.outcomes)} candidates were evaluated" in page.text
    assert len(page.tables["scores"]) == 1 + len(found.details.explanation.scores)


def test_of_a_manifest_alone_what_is_not_known_is_said() -> None:
    page = read(edit_report(load(ROOT / "edits" / "gptj_fever.json"), None, ()))
    assert set(page.figures) == {"accuracy", "compute"}
    assert "Not measured on rows that the search did not see" in page.text
    assert "random control not measured labels corrected not measured other text not measured" in page.text
    assert "The manifest has no single rows" in page.text
    nothing = read(edit_report(Edit("none", "", BASE, ()), None, ()))
    assert nothing.figures == {}
    assert "Nothing: the edit is empty." in nothing.text


def test_of_many_candidates_the_best_are_listed_and_calibration_answers_stand_in_for_held_out_ones() -> None:
    tried = tuple(
        TriedCandidate({"matrix": "U_in", "ρ": f"{number / 100:g}"}, 0.5, float(number), best=number == 1)
        for number in range(1, 60)
    )
    details = dataclasses.replace(hostile_details("plain"), tried=tried)
    page = read(edit_report(Edit("many", "", BASE, ()), details, ()))
    assert f"The candidates, best first: {MOST_TRIED} of 59" in page.text
    table = next(rows for rows in page.tables.values() if rows[0] == ["matrix", "ρ", "accuracy", "NLL", "place"])
    assert table[1] == ["U_in", "0.01", "50.0 %", "1.0000", "winner"]
    assert len(table) == 1 + MOST_TRIED
    assert "of 9 calibration rows" in page.figures["answers"]["desc"]


@pytest.fixture(scope="module")
def plain() -> str:
    """The page of an edit whose texts are all harmless."""
    return edit_report(hostile("plain"), hostile_details("plain"), (Command("Use it", ("plain",)),))


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT,
        pytest.param(HUGE, marks=pytest.mark.thorough),
        pytest.param("\x1b[2J\u202e\n</title><style>*{display:none}", marks=pytest.mark.thorough),
    ],
)
def test_a_stranger_s_texts_are_shown_and_not_obeyed(text: str, plain: str) -> None:
    written = edit_report(hostile(text), hostile_details(text), (Command("Use it", (text,)),))
    page = read(written)
    # The same elements, whatever the texts: none of them began or ended one.
    of_pictures = {"path", "use", "g", "defs", "clippath", "rect"}
    tags, of_plain = ([tag for tag in one.tags if tag not in of_pictures] for one in (page, read(plain)))
    assert tags == of_plain
    assert page.handlers == page.addresses == []
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert len(written) < 2 * len(plain)
    if text == SCRIPT:
        assert "{{ 7 * 7 }}" in page.text
