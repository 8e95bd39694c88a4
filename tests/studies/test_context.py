"""What the units of a study share."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from cti_edits.errors import EditError
from cti_edits.search.candidates import MatrixId
from cti_edits.studies import context as module
from cti_edits.studies.context import place_names
from tests.support.small_studies import small_context, small_question


def test_rows_are_those_of_the_draw_and_of_the_test_part(tmp_path: Path) -> None:
    question = small_question("scorers", samples=4, seed=6, seeds=3, test_rows=7)
    with small_context(question, tmp_path) as context:
        assert list(context.seeds) == [6, 7, 8]
        first = context.calibration(6)
        assert context.calibration(6) is first
        assert len(first.doc_ids) == 4
        assert context.calibration(7).doc_ids != first.doc_ids
        assert context.calibration(6).doc_ids == first.doc_ids
        assert len(context.calibration(6, 9).doc_ids) == 9
        assert context.evaluated(7).rows.doc_ids == context.calibration(7).doc_ids
        assert context.evaluated(7) is context.evaluated(7)
        assert context.held_out.rows.doc_ids == tuple(range(7))
        assert len(context.held_out.unedited.correct) == 7
        # All texts of the validation part begin with its name, and those of the test part with its own.
        assert all(one.context.startswith("validation") for one in first.gold)
        assert all(one.context.startswith("test") for one in context.held_out.rows.gold)


def test_matrices_are_those_of_the_question_or_of_the_roles(tmp_path: Path) -> None:
    with small_context(small_question("sigma", test_rows=None, matrices=("U_out",)), tmp_path) as context:
        assert list(context.targets()) == [MatrixId(layer, "U_out") for layer in range(3)]
        assert list(context.targets(["W_q", "W_v"]))[:2] == [MatrixId(0, "W_q"), MatrixId(0, "W_v")]
        with pytest.raises(EditError, match=r"^test_rows: the study sigma measures on no held-out rows$"):
            _ = context.held_out


def test_places_are_named() -> None:
    assert doctest.testmod(module).failed == 0
    assert place_names({1: [MatrixId(2, "U_in")], 4: [MatrixId(0, "U_out"), MatrixId(2, "U_in")]}) == [
        "K 1, U_in of layer 2",
        "K 4, U_out of layer 0",
        "K 4, U_in of layer 2",
    ]
