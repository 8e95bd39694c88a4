"""Which matrices are kept."""

from __future__ import annotations

import itertools

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.models.apply import TargetMatrix, target_matrices
from cti_edits.search.candidates import MatrixId
from cti_edits.search.scores import keep_best, matrix_scores
from tests.support.tiny_models import tiny_model


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


def targets() -> dict[MatrixId, TargetMatrix]:
    return {MatrixId(one.layer, one.matrix): one for one in target_matrices(tiny_model("gpt2"), ("U_in",))}


def test_the_score_of_each_matrix_and_each_k_is_the_mean_over_its_blocks_of_what_is_negative() -> None:
    one = [(torch.tensor([-1.0, 2.0, -3.0]),), (torch.tensor([-1.0]), torch.tensor([-2.0, 4.0]))]
    other = [(torch.tensor([5.0]),), (torch.tensor([0.0]), torch.tensor([-8.0]))]
    found = matrix_scores([one, other, one], (1, 2), targets())
    first, second, third = targets()
    assert found == {
        1: {first: -4.0, second: 0.0, third: -4.0},
        2: {first: -1.5, second: -4.0, third: -1.5},
    }


def test_a_score_that_is_no_number_names_the_matrix() -> None:
    good: list[tuple[torch.Tensor, ...]] = [(torch.tensor([-1.0]),)]
    bad: list[tuple[torch.Tensor, ...]] = [(torch.tensor([float("-inf")]),)]
    with pytest.raises(EditError, match=r"^transformer\.h\.1\.mlp\.c_fc: its score at K = 4 is -inf$"):
        matrix_scores([good, bad, good], (4,), targets())
