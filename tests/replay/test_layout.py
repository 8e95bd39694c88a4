"""Batches that become smaller where memory is short, and hidden states that come to a block or do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import replaced_weight
from tests.support.evaluators import assert_same, compare
from tests.support.small_searches import choices, edited_weights, failing, lm_of, written


@pytest.mark.parametrize("task", ["choices", "written"])
@pytest.mark.parametrize("when", range(1, 26, 4))
def test_memory_that_is_exhausted_once(task: str, when: int, tmp_path: Path) -> None:
    """At whichever pass it happens, what is measured is the same."""
    lm = lm_of("gptj")
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 3, until: []}")
    reference = ReferenceEvaluator(lm, calibration)
    expected = [reference.evaluate()]
    weights = [pair for pair in edited_weights(lm.model) if pair[0].matrix == "U_out"]
    for target, edited in weights:
        with replaced_weight(target, edited):
            expected.append(reference.evaluate())
    calls: list[int] = []

    def fails(tokens: Any) -> bool:
        calls.append(tokens.numel())
        return len(calls) == when and tokens.numel() > 1

    lm.model.forward = failing(lm.model.forward, fails)
    evaluator = ReplayEvaluator(lm, calibration)
    assert_same(evaluator.evaluate(), expected[0])
    for (target, edited), theirs in zip(weights, expected[1:], strict=True):
        with replaced_weight(target, edited):
            assert_same(evaluator.evaluate(target.layer), theirs)


@pytest.mark.parametrize("task", ["choices", "written"])
def test_memory_for_few_tokens(task: str, tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 3, until: []}")
    theirs = ReferenceEvaluator(lm, calibration).evaluate()
    lm.model.forward = failing(lm.model.forward, lambda tokens: tokens.numel() > 36)
    evaluator = ReplayEvaluator(lm, calibration)
    assert_same(evaluator.evaluate(), theirs)
    assert all(batch.packed.tokens.numel() <= 36 for batch in evaluator._layout.batches)


@pytest.mark.parametrize("task", ["choices", "written"])
@pytest.mark.parametrize("later", [False, True])
def test_memory_that_does_not_hold_one_example(task: str, later: bool, tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = choices(tmp_path) if task == "choices" else written(tmp_path, "{max_gen_toks: 3, until: []}")
    plain = lm.model.forward
    exhausted = failing(plain, lambda tokens: tokens.numel() > 1)
    message = r"^the memory of cpu does not hold one example of \d+ tokens beside the model; a narrower dtype, another"
    if not later:
        lm.model.forward = exhausted
        with pytest.raises(EditError, match=message):
            ReplayEvaluator(lm, calibration)
        return
    evaluator = ReplayEvaluator(lm, calibration)
    theirs = evaluator.evaluate()
    assert theirs is not None
    lm.model.forward = exhausted
    with pytest.raises(EditError, match=message):
        evaluator.evaluate(1)
    # And with memory again, all goes on.
    lm.model.forward = plain
    assert_same(evaluator.evaluate(1), theirs)


def test_an_interrupt_leaves_nothing_half_carried(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = written(tmp_path, "{max_gen_toks: 3, until: []}")
    evaluator = ReplayEvaluator(lm, calibration)
    theirs = evaluator.evaluate()
    assert theirs is not None
    evaluator._layout._size = BatchSize(1, 20)
    evaluator._layout.pack_anew()
    assert len(evaluator._layout.batches) > 2
    plain, calls = lm.model.forward, []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments, **named)

    lm.model.forward = interrupted
    with pytest.raises(KeyboardInterrupt):
        evaluator.evaluate(2)
    lm.model.forward = plain
    compare(lm, calibration, evaluator, layers=(2, 1))


def test_an_error_that_is_not_of_memory_is_not_swallowed(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    evaluator = ReplayEvaluator(lm, choices(tmp_path))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a kernel is missing")

    lm.model.forward = broken
    with pytest.raises(RuntimeError, match="a kernel is missing"):
        evaluator.evaluate()


def test_batches_are_halved_by_rows_then_by_tokens_until_each_is_an_example(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    evaluator = ReplayEvaluator(lm, choices(tmp_path), 4)
    batches = evaluator._layout
    sizes = [batches.batch_tokens]
    while any(len(batch.examples) > 1 for batch in batches.batches):
        batches.halve()
        sizes.append(batches.batch_tokens)
    with pytest.raises(EditError, match="does not hold one example"):
        batches.halve()
    assert sizes[:4] == [1024, 512, 256, 128]
    assert all(len(batch.examples) == 1 for batch in batches.batches)
    assert sorted(one for batch in batches.batches for one in batch.examples) == list(range(7))
    assert batches.one_example_a_batch()
    assert not batches.one_example_a_batch()


def test_hidden_states_come_to_a_block_once_and_from_the_start_to_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = ReplayEvaluator(lm_of("gptj"), choices(tmp_path))
    batches = evaluator._layout
    passes: list[int] = []
    plain = batches._replay.hidden

    def watched(*arguments: Any) -> torch.Tensor:
        passes.append(arguments[1])
        return plain(*arguments)

    monkeypatch.setattr(batches._replay, "hidden", watched)
    with torch.no_grad():
        for block, starts in ((1, [0]), (1, []), (2, [1]), (1, [0])):
            passes.clear()
            batches.advance_to(block)
            assert (batches.block, passes) == (block, starts * len(batches.batches))


def test_neighbours_are_continued_together_whichever_of_them_is_asked_for(tmp_path: Path) -> None:
    batches = ReplayEvaluator(lm_of("gptj"), choices(tmp_path))._layout
    batches._size = BatchSize(1, 20)
    batches.pack_anew()
    count = len(batches.batches)
    assert count > 3
    tokens = [batch.packed.tokens.numel() for batch in batches.batches]
    for size, kept in ((1, 0), (1, 2), (1, 10**9), (3, 7)):
        batches.kept_bytes = kept
        groups = [batches.continued_together(index, size) for index in range(count)]
        assert [group for index, group in enumerate(groups) if index == group.start] == sorted(
            set(groups), key=lambda group: group.start
        )
        assert all(index in group and groups[group.start] == group for index, group in enumerate(groups))
        for index, group in enumerate(groups):
            assert len(group) == 1 or size * sum(tokens[i] for i in group) <= kept * tokens[index]
        assert (len(set(groups)) == 1) == (kept == 10**9)
