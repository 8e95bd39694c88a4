from __future__ import annotations

import itertools

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.models.apply import target_matrices
from cti_edits.search.candidates import MatrixId
from cti_edits.search.scores import keep_best, matrix_scores
from tests.support.tiny_models import tiny_model


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_score_is_the_mean_over_blocks_of_what_is_negative() -> None:
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(tiny_model("gptj"), ("U_in",))[:2]}
    gradients = [
        [(numbers(-1.0, 2.0, -3.0),), (numbers(-4.0, 1.0), numbers(5.0, 6.0))],
        [(numbers(1.0),), (numbers(-1.0), numbers(-2.0))],
    ]
    first, second = targets
    assert matrix_scores(gradients, (1, 2), targets) == {
        1: {first: -4.0, second: 0.0},
        2: {first: -2.0, second: -1.5},
    }


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_score_that_is_not_finite_is_named(value: float) -> None:
    (target,) = target_matrices(tiny_model("gptj"), ("U_in",))[:1]
    with pytest.raises(EditError) as caught:
        matrix_scores([[(numbers(value),)]], (4,), {MatrixId(0, "U_in"): target})
    assert str(caught.value).startswith(f"{target.module}: its score at K = 4 is ")


def test_the_most_negative_scores_are_kept_best_first() -> None:
    scores = {
        MatrixId(0, "U_in"): -1.0,
        MatrixId(1, "U_in"): 0.0,
        MatrixId(2, "U_in"): -3.0,
        MatrixId(3, "U_in"): -2.0,
    }
    assert keep_best(scores, 2) == [MatrixId(2, "U_in"), MatrixId(3, "U_in")]
    assert [target.layer for target in keep_best(scores, 99)] == [2, 3, 0, 1]


def test_tied_scores_go_to_the_lower_layer_then_by_role_however_they_come() -> None:
    tied = [MatrixId(10, "U_in"), MatrixId(2, "U_out"), MatrixId(2, "U_in"), MatrixId(0, "W_o")]
    for order in itertools.permutations(tied):
        scores = dict.fromkeys(order, -1.0)
        assert keep_best(scores, 3) == [MatrixId(0, "W_o"), MatrixId(2, "U_in"), MatrixId(2, "U_out")]
