"""The scores of matrices, by any scorer, and which matrices are kept."""

from __future__ import annotations

import itertools

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.models.apply import TargetMatrix, target_matrices
from cti_edits.search.candidates import MatrixId
from cti_edits.search.scorers import BlockDirections
from cti_edits.search.scores import keep_best, matrix_scores
from tests.support.installed_plugins import InstalledPlugins
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


def blocks(*gradients: list[float]) -> tuple[BlockDirections, ...]:
    """Blocks with these gradients, each by a singular value of 2."""
    return tuple(BlockDirections(torch.full((len(g),), 2.0), torch.tensor(g)) for g in gradients)


ONE = [blocks([-1.0, 2.0, -3.0]), blocks([-1.0], [-2.0, 4.0])]
OTHER = [blocks([5.0]), blocks([0.0], [-8.0])]


def test_the_score_of_each_matrix_and_each_k_is_the_mean_over_its_blocks_of_what_is_negative() -> None:
    found = matrix_scores([ONE, OTHER, ONE], (1, 2), targets())
    first, second, third = targets()
    assert found == {
        1: {first: -4.0, second: 0.0, third: -4.0},
        2: {first: -1.5, second: -4.0, third: -1.5},
    }


def test_the_scorer_that_is_asked_for_is_given_each_matrix_with_the_seed() -> None:
    assert list(matrix_scores([ONE, OTHER, ONE], (1, 2), targets(), "predicted-change")[2].values()) == [-2, 16, -2]
    first, again, other = (matrix_scores([ONE, OTHER, ONE], (1, 2), targets(), "random", seed) for seed in (0, 0, 1))
    assert first == again
    assert len({*first[1].values(), *first[2].values(), *other[1].values(), *other[2].values()}) == 12


def test_a_score_that_is_no_number_names_the_matrix() -> None:
    good, bad = [blocks([-1.0])], [blocks([float("-inf")])]
    with pytest.raises(EditError, match=r"^transformer\.h\.1\.mlp\.c_fc: its score at K = 4 is -inf$"):
        matrix_scores([good, bad, good], (4,), targets())


@pytest.mark.parametrize(
    ("body", "reason"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("None", "TypeError: float"), ("'x'", "ValueError: could not")],
)
def test_a_scorer_that_fails_is_named_with_its_plugin(plugin_folder: InstalledPlugins, body: str, reason: str) -> None:
    plugin_folder.add(
        "flawed",
        "from cti_edits.hookspecs import hookimpl\nfrom cti_edits.search.scorers import Scorer\n\n"
        f"@hookimpl\ndef scorers():\n    return [Scorer('bad', '', lambda matrix: {body})]\n",
    )
    named = r"^the scorer 'bad' of the plugin 'flawed' \(flawed 1\.0\) failed: "
    with pytest.raises(EditError, match=named + reason):
        matrix_scores([ONE, OTHER, ONE], (1, 2), targets(), "bad")
