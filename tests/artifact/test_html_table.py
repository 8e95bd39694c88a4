from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

import pytest

import cti_edits
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement, Results
from cti_edits.paths import folder
from tests.support.edits import directions, entry, plugin_edit


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        else:
            self.texts.append(data)


def parsed(edit: Edit) -> Cells:
    cells = Cells()
    cells.feed(edit._repr_html_())
    assert not cells.open
    return cells


@pytest.fixture(scope="module")
def published() -> Edit:
    return cti_edits.load(folder("edits") / "gptj_fever.json")


def test_a_notebook_shows_the_matrices_and_what_was_reported(published: Edit) -> None:
    cells = parsed(published)
    (one,) = published.edits
    assert cells.rows[0] == ["matrix", "layer", "method", "what is done", "shape"]
    shape = f"{one.shape[0]} × {one.shape[1]}"
    assert cells.rows[1:] == [[one.matrix, str(one.layer), "block-svd", "rho 0.1, K 4, 408 ranks kept", shape]]
    text = "".join(cells.texts)
    assert published.name in text
    assert published.digest()[:12] in text
    assert "% as reported, not measured here" in text


def test_a_notebook_shows_directions_and_a_plugin_s_method(published: Edit) -> None:
    one = directions()
    cells = parsed(dataclasses.replace(published, edits=(one, plugin_edit(entry("W_q")))))
    assert cells.rows[1:] == [
        ["U_in", "0", "directions", "2 directions, scale 0.5 to 1.5", "48 × 32"],
        ["W_q", "0", "magic", "method magic", "48 × 32"],
    ]


def test_the_held_out_figure_comes_first(published: Edit) -> None:
    figures = Measurement(n=100, baseline=0.5, edited=0.6, majority_class=0.55)
    both = Results(calibration=figures, test=dataclasses.replace(figures, n=400, edited=0.52))
    text = "".join(parsed(dataclasses.replace(published, results=both)).texts)
    assert "50.0 → 52.0 % on test rows (n = 400); always the most frequent answer: 55.0 %" in text
    assert text.index("test rows") < text.index("the rows that chose it")
    alone = "".join(parsed(dataclasses.replace(published, results=Results(figures, None))).texts)
    assert "on the rows that chose it, which flatter it (n = 100)" in alone
    assert "not measured on rows that the search did not see" in alone
    compared = dataclasses.replace(figures, ci95=(-0.1, 0.3), p_value=0.4)
    judged = "".join(parsed(dataclasses.replace(published, results=Results(figures, compared))).texts)
    assert "no evidence: the interval holds zero" in judged


def test_text_from_a_stranger_is_text(published: Edit) -> None:
    hostile = dataclasses.replace(published, name="<script>alert(1)</script>&")
    assert "<script>" not in hostile._repr_html_()
    assert "<script>alert(1)</script>&" in "".join(parsed(hostile).texts)


def test_an_empty_edit_says_so(published: Edit) -> None:
    cells = parsed(dataclasses.replace(published, edits=()))
    assert not cells.rows
    assert "changes no matrix" in "".join(cells.texts)
