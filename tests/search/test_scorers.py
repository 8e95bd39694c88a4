"""What each scorer that comes along makes of a matrix, by hand."""

from __future__ import annotations

import pytest
import torch

from cti_edits.search.candidates import MatrixId
from cti_edits.search.scorers import SCORERS, BlockDirections, MatrixDirections, find_scorer


def block(S: list[float], g: list[float]) -> BlockDirections:
    return BlockDirections(torch.tensor(S, dtype=torch.float64), torch.tensor(g, dtype=torch.float64))


BLOCKS = (block([4.0, 2.0, 1.0], [-1.0, 3.0, -2.0]), block([8.0, 0.5], [0.25, -4.0]))


def matrix(seed: int = 0, layer: int = 1, role: str = "U_in", count: int = 2) -> MatrixDirections:
    return MatrixDirections(MatrixId(layer, role), (5, 3), BLOCKS[:count], seed)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("paper", ((-1 - 2) + (-4)) / 2),
        ("negated-paper", ((1 + 2) + 4) / 2),
        ("sum-abs", -((1 + 3 + 2) + (0.25 + 4)) / 2),
        # To cut all of them moves each σ by -σ, and the loss by -σ g.
        ("predicted-change", -((-4 + 6 - 2) + (2 - 2))),
        ("sigma", ((4 + 2 + 1) + (8 + 0.5)) / 2),
    ],
)
def test_each_score_by_hand(name: str, score: float) -> None:
    assert find_scorer(name).score(matrix()) == score


def test_random_scores_depend_on_the_seed_the_matrix_and_k_alone() -> None:
    score = find_scorer("random").score
    assert score(matrix()) == score(matrix())
    others = [matrix(seed=1), matrix(layer=2), matrix(role="U_out"), matrix(count=1)]
    assert len({score(one) for one in (matrix(), *others)}) == 5
    drawn = [score(matrix(layer=layer)) for layer in range(400)]
    assert 0.45 < sum(drawn) / 400 < 0.55
    assert min(drawn) >= 0
    assert max(drawn) < 1


def test_each_has_a_name_of_its_own_and_a_summary() -> None:
    assert len({one.name for one in SCORERS}) == len(SCORERS) == 6
    assert all(one.summary and "\n" not in one.summary for one in SCORERS)


def test_experts_and_stacks_have_random_scores_of_their_own() -> None:
    places = [MatrixId(1, "U_in"), MatrixId(1, "U_in", "encoder"), MatrixId(1, "U_in", "decoder")]
    places += [MatrixId(1, "U_in", expert=expert) for expert in range(4)]
    random = find_scorer("random").score
    assert len({random(MatrixDirections(place, (5, 3), BLOCKS[:2], 0)) for place in places}) == len(places)
