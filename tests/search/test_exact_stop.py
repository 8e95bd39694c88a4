"""A candidate that provably cannot win is stopped, and the winner is the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_edits.harness.evaluation import NLL_STEP
from cti_edits.replay import example_order, layout
from cti_edits.replay.example_order import ExampleOrder
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.search.candidates import Candidate, MatrixId
from cti_edits.search.outcome import Outcome, cannot_win, winner
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, written
from tests.support.tiny_models import tiny_model

CANDIDATE = Candidate(MatrixId(0, "U_in"), 1, 0.5)
OTHER = Candidate(MatrixId(0, "U_out"), 1, 0.5)


def rounded(loss: float) -> float:
    return round(round(loss / NLL_STEP) * NLL_STEP, 12)


def outcome(candidate: Candidate | None, correct: tuple[bool, ...], loss: float, added: int) -> Outcome:
    n = len(correct)
    return Outcome(candidate, sum(correct) / n, rounded(loss / n), correct, added)


losses = st.one_of(st.sampled_from([0.0, 1e-7, 4e-7, 5e-7, 1e-6, 0.5, 1.0]), st.floats(0.0, 3.0))


@settings(deadline=None, max_examples=300)
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
    best = outcome(CANDIDATE, tuple(c for c, _ in best_examples), sum(loss for _, loss in best_examples), 5)
    seen = examples[:done]
    if not cannot_win(best, sum(not c for c, _ in seen), sum(loss for _, loss in seen)):
        return
    for rest in itertools.product((False, True), repeat=n - done):
        for more in (0.0, 1e-7, 1.0):
            correct = (*(c for c, _ in seen), *rest)
            for added in (-100, 5):
                other = outcome(OTHER, correct, sum(loss for _, loss in seen) + more * (n - done), added)
                # It loses whichever of the two comes first: not even a tie is ruled out.
                assert winner([other, best]) is best
                assert other.order() > best.order()


@pytest.mark.parametrize("n", [3, 7, 100])
def test_what_may_come_out_equal_goes_on(n: int) -> None:
    correct = (True,) * (n - 1) + (False,)
    best = outcome(CANDIDATE, correct, 0.3 * n, 0)
    assert not cannot_win(best, 1, 0.3 * n)
    assert not cannot_win(best, 0, 10.0 * n)
    assert cannot_win(best, 2, 0.0)
    assert cannot_win(best, 1, (0.3 + 3 * NLL_STEP) * n)


SETTINGS = SearchSettings(samples=7, top_q=3, clusters=(1, 2), rates=(0.6, 0.3, 0.1))


@pytest.fixture
def _row_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch for each example: otherwise all is measured before anything is asked."""
    monkeypatch.setattr(layout, "ROW_TOKENS", 20)


@pytest.mark.usefixtures("_row_for_each")
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("task", ["choices", "written"])
def test_the_winner_is_the_same(task: str, seed: int, tmp_path: Path) -> None:
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 2, until: []}")
    lm = lm_of("gptj", tiny_model("gptj", seed=seed))
    exact, every = (run_search(lm, calibration, SETTINGS, "tiny", "tiny", exact_stop=stops) for stops in (True, False))
    assert exact.best == every.best
    assert exact.edit.digest() == every.edit.digest()
    assert exact.edit.results == every.edit.results
    assert every.stopped == ()
    assert not {o.candidate for o in exact.outcomes} & set(exact.stopped)
    assert {*(o.candidate for o in exact.outcomes), *exact.stopped} == {o.candidate for o in every.outcomes}
    assert set(exact.outcomes) <= set(every.outcomes)
    assert exact.edit.search is not None
    assert every.edit.search is not None
    assert exact.edit.search.candidates == every.edit.search.candidates
    assert exact.stopped


@pytest.mark.usefixtures("_row_for_each")
@pytest.mark.parametrize("task", ["choices", "written"])
def test_what_was_wrong_is_asked_first(task: str, tmp_path: Path) -> None:
    """What is wrong of a candidate was mostly wrong of the model before it, so that it stops sooner."""
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 2, until: []}")
    lm = lm_of("gptj", tiny_model("gptj", seed=1))
    evaluator = ReplayEvaluator(lm, calibration)
    unedited = evaluator.evaluate()
    assert unedited is not None
    if task == "choices":
        assert 0 < unedited.accuracy < 1
    batches = evaluator._layout.batches
    assert len(batches) > 3
    sides = [{unedited.correct[example] for example in batch.examples} for batch in batches]
    assert all(len(side) == 1 for side in sides)
    asked: list[tuple[int, float]] = []

    def stop(wrong: int, loss: float) -> bool:
        asked.append((wrong, loss))
        return len(asked) == 2

    assert evaluator.evaluate(0, None, stop) is None
    # A text that does not go as drafted is judged when all batches are through.
    wrong = [batch for batch, side in zip(batches, sides, strict=True) if side == {False}]
    assert asked[0][0] == (len(wrong[0].examples) if task == "choices" else 0)


def test_what_is_expected_wrong_comes_first() -> None:
    models = ExampleOrder()
    batches = [[0, 1], [2, 3], [4, 5]]
    assert models.next(batches, {}) == 0
    models.add({0: True, 1: True, 2: False, 3: False, 4: False, 5: True})
    assert models.next(batches, {}) == 1
    assert models.next([batches[0], batches[2]], {}) == 1
    # The latest model, and the one before it for the examples that the latest was not asked.
    models.add({0: False, 1: False, 4: True})
    assert models.next(batches, {}) == 0
    assert models.next(batches[1:], {}) == 0
    # One that is like the first from what is known: not the latest, although 0 was wrong of it.
    assert models.next(batches, {4: False}) == 1
    assert models.next(batches, {1: True, 4: True}) == 0
    assert models.next(batches, {0: True, 1: True, 4: True}) == 1


def test_the_oldest_models_are_forgotten() -> None:
    models = ExampleOrder()
    models.add({0: True, 1: False, 2: False})
    for _ in range(example_order.MODELS_COMPARED):
        models.add({0: False, 1: True, 2: True})
    assert models.next([[0], [1]], {2: False}) == 0
