"""A candidate that provably cannot win is stopped, and the winner is the same."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from cti_edits.replay import layout
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, written
from tests.support.tiny_models import tiny_model

SETTINGS = SearchSettings(samples=7, top_q=3, clusters=(1, 2), rates=(0.6, 0.3, 0.1))


@pytest.fixture
def _row_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch for each example: otherwise all is measured before anything is asked."""
    monkeypatch.setattr(layout, "BatchSize", functools.partial(BatchSize, row_tokens=20))


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

    assert evaluator.evaluate(0, stop) is None
    # A text that does not go as drafted is judged when all batches are through.
    wrong = [batch for batch, side in zip(batches, sides, strict=True) if side == {False}]
    assert asked[0][0] == (len(wrong[0].examples) if task == "choices" else 0)
