"""Matrices over layers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.report.heat_maps import MOST_CELLS, MOST_LINES, directions_figure, scores_figure
from cti_edits.search.explanation import NOT_EXPLAINED, Explanation, MatrixScore
from tests.support.edits import BASE, directions, entry
from tests.support.reports import Searched


def opacities(svg: str) -> list[float]:
    """Of the cells, line by line; one without is opaque."""
    styles = re.findall(r'<path [^>]*style="(fill: var\(--accent[^"]*)"', svg)
    found = [re.search(r"fill-opacity: ([\d.]+)", style) for style in styles]
    return [float(one[1]) if one else 1.0 for one in found]


def test_the_lowest_score_of_a_k_is_the_darkest_whatever_other_ks_have() -> None:
    scores = tuple(
        MatrixScore(MatrixId(layer, "U_in"), clusters, clusters * (10.0 * layer - 20), kept=layer == 0)
        for clusters in (1, 8)
        for layer in range(3)
    )
    figure = scores_figure(Explanation("the sum", "tried", scores))
    assert figure is not None
    assert opacities(str(figure.svg)) == [1.0, 0.525, 0.05] * 2
    assert figure.description == (
        "The score is the sum. For each K, the stronger the colour the lower; a dot marks what is tried."
    )
    assert figure.headings == ("matrix", "layer", "K", "score", "tried")
    assert figure.rows[0] == ("U_in", "0", "1", "-20", "yes")
    assert len(figure.rows) == 6


def test_a_search_s_scores_are_all_there(searches: Mapping[str, Searched]) -> None:
    figure = scores_figure(searches["cl-100g-100e"].details.explanation)
    assert figure is not None
    assert len(figure.rows) == 3 * 2 * 2
    assert sum(row[-1] == "yes" for row in figure.rows) == 4
    assert scores_figure(NOT_EXPLAINED) is None


def test_many_experts_are_one_line_and_too_many_matrices_are_in_the_table_alone() -> None:
    experts = tuple(MatrixScore(MatrixId(0, "U_in", None, one), 1, -float(one), kept=one == 7) for one in range(60))
    figure = scores_figure(Explanation("the sum", "tried", experts))
    assert figure is not None
    assert opacities(str(figure.svg)) == [1.0]
    assert figure.description.endswith("Of the experts of a block, the strongest colour is shown.")
    assert figure.count == 60
    names = tuple(MatrixScore(MatrixId(0, f"U_{one:03}"), 1, 0.0, kept=False) for one in range(2 * MOST_LINES))
    figure = scores_figure(Explanation("the sum", "tried", names))
    assert figure is not None
    assert len(opacities(str(figure.svg))) == MOST_LINES
    layers = tuple(MatrixScore(MatrixId(one, "U_in"), 1, float(one), kept=False) for one in range(MOST_CELLS + 5))
    figure = scores_figure(Explanation("the sum", "tried", layers))
    assert figure is not None
    assert len(opacities(str(figure.svg))) == MOST_CELLS


def test_directions_are_counted_by_matrix_and_layer() -> None:
    more = directions(layer=2, index=(0, 1, 2, 3), scale=(2.0,) * 4, sigma=(4.0, 3.0, 2.0, 1.0))
    figure = directions_figure(Edit("one", "", BASE, (directions(), more, entry("U_out"))))
    assert figure is not None
    assert figure.rows == (("U_in", "0", "2"), ("U_in", "2", "4"))
    assert opacities(str(figure.svg)) == [0.575, 1.0]
    assert directions_figure(Edit("one", "", BASE, (entry(),))) is None
