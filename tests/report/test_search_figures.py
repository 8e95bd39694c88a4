"""What was tried, what it cost, and σ against g."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from cti_edits.artifact.manifest import load
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.report.compute import SystemCost, system_costs
from cti_edits.report.search_figures import MOST_POINTS, compute_figure, names_below, sigma_figure, tried_figure
from cti_edits.search.details import TriedCandidate
from cti_edits.search.explanation import MatrixGradients
from tests.conftest import ROOT
from tests.support.reports import Searched, hostile_details

DETAILS = hostile_details("U_in")


def test_accuracy_over_the_rank_marks_the_winner_s_line() -> None:
    figure = tried_figure(DETAILS)
    assert figure is not None
    assert figure.title == "Accuracy over ρ"
    assert figure.description.endswith("The winner's line, U_in, K = 2, is marked.")
    assert figure.headings == ("matrix", "K", "ρ", "accuracy")
    assert figure.rows == (("U_in", "2", "0.1", "50.0 %"), ("U_in", "2", "0.4", "50.0 %"))


def test_accuracy_over_the_number_of_directions(searches: Mapping[str, Searched]) -> None:
    figure = tried_figure(searches["sigma-step"].details)
    assert figure is not None
    assert figure.title == "Accuracy over N"
    assert figure.headings == ("directions", "f", "accuracy")
    assert {row[:2] for row in figure.rows} == {(n, f) for n in ("1", "12", "60") for f in ("0.3", "1")}


def test_candidates_of_a_plugin_may_have_any_cells() -> None:
    def tried(*cells: Mapping[str, str]) -> object:
        found = tuple(TriedCandidate(one, 0.5, 1.0, best=False) for one in cells)
        return tried_figure(dataclasses.replace(DETAILS, tried=found))

    assert tried() is None
    assert tried({"shift": "3"}) is None
    for odd in ("much", "0", "-1", "nan", "inf", "1e999", ""):
        assert tried({"ρ": "0.5"}, {"ρ": odd}) is None
    assert tried({"ρ": "0.5"}, {"shift": "3"}) is None
    assert tried({"ρ": "0.5"}) is not None


def test_compute_has_the_paper_s_accuracies_where_the_task_is_the_paper_s() -> None:
    figure = compute_figure(system_costs(load(ROOT / "edits" / "gptj_fever.json"), None))
    assert figure is not None
    assert figure.title == "Accuracy against compute"
    assert {"laser", "cl-laser", "cl-100g-100e"} <= {row[0] for row in figure.rows}
    assert all(row[2] and row[3].startswith("arXiv") for row in figure.rows if row[0] != "this search")


def test_names_of_near_points_stand_on_either_side() -> None:
    points = {"a": (5e6, 0.58), "b": (1.3e6, 0.562), "c": (7e5, 0.56), "d": (2e4, 0.53), "e": (5e3, 0.5)}
    assert names_below([SystemCost(name, *one, "") for name, one in points.items()]) == {"c"}
    assert names_below([SystemCost("a", 1.0, 0.5, ""), SystemCost("b", 1.0, 0.5, "")]) == {"b"}


def test_compute_elsewhere_has_the_passes_alone(searches: Mapping[str, Searched]) -> None:
    found = searches["sigma-step"]
    systems = system_costs(found.edit, found.details)
    figure = compute_figure(systems)
    assert figure is not None
    assert figure.title == "Compute"
    assert [row[2] for row in figure.rows if row[0] != "this search"] == [""] * 5
    assert compute_figure([one for one in systems if one.name == "this search"]) is None


def test_sigma_against_g_keeps_what_changes_and_the_largest() -> None:
    count = 5000
    gradients = MatrixGradients(
        MatrixId(3, "U_out"), 4,
        tuple(count - float(index) for index in range(count)),
        tuple((-1) ** index * index / count for index in range(count)),
        tuple(index == 1 for index in range(count)),
    )  # fmt: skip
    figure = sigma_figure(gradients)
    assert figure.title == "Singular values and their gradients: U_out of layer 3, K = 4"
    assert figure.description.endswith(f"Drawn are {figure.count:,} of 5,000.")
    assert figure.count <= MOST_POINTS
    assert figure.rows[0] == ("4999", "-0.0002", "yes")
    assert figure.rows[1] == ("1", "-0.9998", "")


def test_singular_values_of_zero_are_drawn_too() -> None:
    figure = sigma_figure(MatrixGradients(MatrixId(0, "U_in"), 1, (1.0, 0.0), (0.0, 0.0), (False, False)))
    assert figure.rows == (("1", "0", ""), ("0", "0", ""))
    assert sigma_figure(MatrixGradients(MatrixId(0, "U_in"), 1, (), (), ())).rows == ()
