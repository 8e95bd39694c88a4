"""Which of two outcomes is better, and when a candidate cannot win any more."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.ranks import kept_parameters
from cti_edits.harness.evaluation import NLL_STEP
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.outcome import Outcome, cannot_win, winner


def outcome(accuracy: float, nll: float, added: int, layer: int | None = 0) -> Outcome:
    candidate = None if layer is None else RankCut(MatrixId(layer, "U_in"), 2, 0.5)
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


CANDIDATE = RankCut(MatrixId(0, "U_in"), 1, 0.5)


OTHER = RankCut(MatrixId(0, "U_out"), 1, 0.5)


def rounded(loss: float) -> float:
    return round(round(loss / NLL_STEP) * NLL_STEP, 12)


def outcome_of(candidate: RankCut | None, correct: tuple[bool, ...], loss: float, added: int) -> Outcome:
    n = len(correct)
    return Outcome(candidate, sum(correct) / n, rounded(loss / n), correct, added)


losses = st.one_of(st.sampled_from([0.0, 1e-7, 4e-7, 5e-7, 1e-6, 0.5, 1.0]), st.floats(0.0, 3.0))


@given(
    st.lists(st.tuples(st.booleans(), losses), min_size=1, max_size=6),
    st.lists(st.tuples(st.booleans(), losses), min_size=6, max_size=6),
    st.data(),
)
def test_no_completion_wins_where_it_says_so(
    best_examples: list[tuple[bool, float]], examples: list[tuple[bool, float]], data: st.DataObject
) -> None:
    n = len(best_examples)
    done = data.draw(st.integers(0, n - 1))
    best = outcome_of(CANDIDATE, tuple(c for c, _ in best_examples), sum(loss for _, loss in best_examples), 5)
    seen = examples[:done]
    if not cannot_win(best, sum(not c for c, _ in seen), sum(loss for _, loss in seen)):
        return
    for rest in itertools.product((False, True), repeat=n - done):
        for more in (0.0, 1e-7, 1.0):
            correct = (*(c for c, _ in seen), *rest)
            for added in (-100, 5):
                other = outcome_of(OTHER, correct, sum(loss for _, loss in seen) + more * (n - done), added)
                # It loses whichever of the two comes first: not even a tie is ruled out.
                assert winner([other, best]) is best
                assert other.order() > best.order()


@pytest.mark.parametrize("n", [3, 7, 100])
def test_what_may_come_out_equal_goes_on(n: int) -> None:
    correct = (True,) * (n - 1) + (False,)
    best = outcome_of(CANDIDATE, correct, 0.3 * n, 0)
    assert not cannot_win(best, 1, 0.3 * n)
    assert not cannot_win(best, 0, 10.0 * n)
    assert cannot_win(best, 2, 0.0)
    assert cannot_win(best, 1, (0.3 + 3 * NLL_STEP) * n)
