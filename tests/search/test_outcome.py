from __future__ import annotations

import random

import pytest

from cti_edits.artifact.ranks import kept_parameters
from cti_edits.search.candidates import Candidate, MatrixId
from cti_edits.search.outcome import Outcome, winner


def outcome(accuracy: float, nll: float, added: int, layer: int | None = 0) -> Outcome:
    candidate = None if layer is None else Candidate(MatrixId(layer, "U_in"), 2, 0.5)
    return Outcome(candidate, accuracy, nll, (), added)


UNEDITED = outcome(0.5, 1.0, 0, layer=None)


def test_accuracy_then_likelihood_then_size_decide() -> None:
    best_first = [
        outcome(0.7, 9.0, 0),
        outcome(0.6, 0.5, 100),
        outcome(0.6, 0.6, -900),
        outcome(0.6, 0.6, -800),
        outcome(0.4, 0.0, -10_000),
    ]
    shuffled = list(best_first)
    for seed in range(10):
        random.Random(seed).shuffle(shuffled)
        for count in range(1, 6):
            remaining = [one for one in shuffled if one in best_first[-count:]]
            assert winner(remaining) == best_first[-count]


@pytest.mark.parametrize(
    ("rival", "wins"),
    [
        (outcome(0.51, 9.0, 0), True),
        (outcome(0.5, 0.99, 0), True),
        (outcome(0.5, 1.0, -1), True),
        (outcome(0.5, 1.0, 0), False),
        (outcome(0.5, 1.01, -1000), False),
        (outcome(0.49, 0.0, -1000), False),
    ],
)
def test_an_edit_must_beat_the_unedited_model(rival: Outcome, wins: bool) -> None:
    assert winner([UNEDITED, rival]) is (rival if wins else UNEDITED)


def test_the_first_of_equals_wins() -> None:
    first, second = outcome(0.6, 1.0, -5, layer=4), outcome(0.6, 1.0, -5, layer=1)
    assert winner([UNEDITED, first, second]) is first
    assert winner([UNEDITED, second, first]) is second


def test_an_edit_of_nearly_full_rank_is_no_smaller_than_the_dense_weight() -> None:
    shape = (8, 8)
    assert kept_parameters(shape, (7,)) == 64
    rival = outcome(0.5, 1.0, kept_parameters(shape, (7,)) - 64)
    assert winner([UNEDITED, rival]) is UNEDITED
