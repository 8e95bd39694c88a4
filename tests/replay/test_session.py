from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.models.apply import target_matrices
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import Session
from tests.support.small_searches import choices, lm_of


@pytest.mark.parametrize("model_type", ["gptj", "gpt2"])
def test_weights_go_back_bit_for_bit_whatever_is_raised(model_type: str) -> None:
    lm = lm_of(model_type)
    first, second = target_matrices(lm.model, ("U_in", "U_out"))[:2]
    former = [parameter.clone() for parameter in lm.model.parameters()]
    with (
        pytest.raises(KeyboardInterrupt),
        Session(lm) as session,
        session.replaced_weight(first, first.weight * 2),
        session.replaced_weight(second, second.weight * 3),
        session.replaced_weight(first, first.weight * 5),
    ):
        raise KeyboardInterrupt
    assert all(torch.equal(a, b) for a, b in zip(former, lm.model.parameters(), strict=True))


def test_closing_puts_back_what_is_still_replaced() -> None:
    lm = lm_of("gptj")
    (target,) = target_matrices(lm.model, ("U_in",))[:1]
    former = target.weight.clone()
    session = Session(lm)
    left_open = [session.replaced_weight(target, former * factor) for factor in (2, 3)]
    for one in left_open:
        one.__enter__()
    assert torch.equal(target.weight, former * 3)
    session.close()
    assert torch.equal(target.weight, former)
    for one in reversed(left_open):
        one.__exit__(None, None, None)
    assert torch.equal(target.weight, former)


def test_gradients_evaluations_and_the_test_part_share_one_engine(tmp_path: Path) -> None:
    with Session(lm_of("gptj")) as session:
        rows = choices(tmp_path)
        first, second = session.evaluator(rows), session.evaluator(rows)
        assert isinstance(first, ReplayEvaluator)
        assert isinstance(second, ReplayEvaluator)
        assert first._replay is second._replay is session.replay


def test_the_reference_evaluator_where_it_is_asked_for(tmp_path: Path) -> None:
    assert isinstance(Session(lm_of("gptj"), "reference").evaluator(choices(tmp_path)), ReferenceEvaluator)
