"""Which of two outcomes is better, and when a candidate cannot win any more."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.ranks import kept_parameters
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NLL_STEP
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.outcome import (
    Outcome,
    best_balanced,
    cannot_be_likeliest,
    cannot_win,
    least_change,
    likeliest,
    winner,
)


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


def rows(right: int, added: int, layer: int | None = 0, start: int = 0) -> Outcome:
    """An outcome of 100 examples, those from ``start`` on right."""
    correct = tuple(start <= number < start + right for number in range(100))
    return dataclasses.replace(outcome(right / 100, 1.0, added, layer), correct=correct)


def test_within_a_standard_error_of_the_best_the_least_change_wins() -> None:
    base, best, small, far = rows(50, 0, None), rows(60, 900), rows(59, -10, start=2), rows(59, 1, start=41)
    assert winner([base, best, small, far]) is best
    # The best is right on one example more than the small one, of three that differ: within a standard error of 1.7.
    assert least_change([base, best, small]) is small
    # The other is as accurate, but on other rows: its standard error is larger, and it changes less.
    assert least_change([base, best, small, far]) is far
    assert least_change([rows(60, 0, None, start=2), best, small]).candidate is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 3)), min_size=1, max_size=6))
def test_the_likeliest_is_never_one_that_cannot_be(figures: list[tuple[float, float]]) -> None:
    outcomes = [dataclasses.replace(outcome(a, nll, 0), correct=(True,) * 10) for a, nll in figures]
    best = likeliest(outcomes)
    assert best.nll == min(one.nll for one in outcomes)
    assert not any(cannot_be_likeliest(one, 0, 10 * best.nll) for one in outcomes)
    assert cannot_be_likeliest(best, 0, 10 * best.nll + 1)


def test_the_best_balanced_accuracy_wins() -> None:
    one, other = (dataclasses.replace(outcome(a, 1.0, 0), balanced=b) for a, b in ((0.9, 0.5), (0.7, 0.7)))
    assert best_balanced([one, other]) is other
    with pytest.raises(EditError, match="metric: balanced accuracy is of tasks that have the same labels"):
        best_balanced([one, outcome(0.5, 1.0, 0)])
