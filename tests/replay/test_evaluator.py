"""What both evaluators offer, of either of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.session import EvaluatorName, Session
from tests.support.small_searches import choices, edited_weights, lm_of


def stop(wrong: int, loss: float) -> bool:
    return True


def go_on(wrong: int, loss: float) -> bool:
    return False


@pytest.mark.parametrize("name", ["replay", "reference"])
def test_an_evaluator_tells_the_edited_model_from_the_unedited_one_and_starts_anew(
    name: EvaluatorName, tmp_path: Path
) -> None:
    lm = lm_of("gptj")
    session = Session(lm, name)
    evaluator: Evaluator = session.evaluator(choices(tmp_path))
    unedited = evaluator.evaluate()
    assert unedited is not None
    target, edited = next(iter(edited_weights(lm.model)))
    with session.replaced_weight(target, edited):
        found = evaluator.evaluate(target.layer)
    assert found is not None
    assert found.nll != unedited.nll
    evaluator.reset()
    assert evaluator.evaluate() == unedited


def test_the_tokens_of_a_pass_are_told_where_they_are_ours_to_choose(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    assert Session(lm, "replay", rows=3).evaluator(choices(tmp_path)).batch_tokens == BatchSize(3).tokens
    assert Session(lm, "reference", rows=3).evaluator(choices(tmp_path)).batch_tokens is None


@pytest.mark.parametrize("name", ["replay", "reference"])
def test_what_cannot_win_may_be_given_up_and_the_unedited_model_is_not(name: EvaluatorName, tmp_path: Path) -> None:
    """The rule is asked for the fast one alone; the reference always goes to the end."""
    lm = lm_of("gptj")
    evaluator = Session(lm, name).evaluator(choices(tmp_path))
    unedited = evaluator.evaluate()
    assert unedited is not None
    assert (evaluator.evaluate(0, stop) is None) == (name == "replay")
    assert evaluator.evaluate(0, go_on) == unedited
