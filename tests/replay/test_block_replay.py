from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.packed_rows import PackedBatch, pack
from cti_edits.replay.session import replaced_weight
from studies.tiny import TINY
from tests.support.evaluators import compare
from tests.support.small_searches import choices, edited_weights, lm_of
from tests.support.tiny_models import CAUSAL, EVERY, LAYERS, MASKED, tiny_model

SEQUENCES = (
    (9, 10, 11, 12, 13),
    (9, 10, 11, 40, 41, 42, 43),
    (9, 10, 11, 12, 13),
    (77,),
    (9, 10, 200, 201, 202, 203, 204, 205, 206, 207, 208),
    (50, 51, 52, 53),
)


def packed(causal: bool, row_tokens: int = 14) -> list[PackedBatch]:
    """Several rows of different lengths, so that there is padding."""
    batches = pack(SEQUENCES, range(len(SEQUENCES)), causal, 2, row_tokens)
    assert len(batches) > 1
    assert any(len(batch.tokens) > 1 for batch in batches)
    return batches


def plain_logits(lm: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        return [lm.model(input_ids=torch.tensor([tokens])).logits[0] for tokens in SEQUENCES]


def replayed_logits(
    replay: BlockReplay, batch: PackedBatch, start: int, entering: torch.Tensor | None
) -> dict[int, torch.Tensor]:
    """The logits at every place of every sequence of the batch."""
    found = {}
    with torch.no_grad():
        for number, (row, path) in batch.paths.items():
            rows = torch.full((len(path),), row)
            found[number] = replay.logits(batch, start, entering, rows, torch.tensor(path))
    return found


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("model_type", EVERY)
def test_from_every_block_the_logits_are_the_models(model_type: str) -> None:
    lm = lm_of(model_type)
    replay = BlockReplay(lm)
    assert replay.depth == LAYERS
    expected = plain_logits(lm)
    for batch in packed(model_type in CAUSAL):
        entering = None
        for start in range(LAYERS):
            if start:
                with torch.no_grad():
                    entering = replay.hidden(batch, start - 1, entering, start)
            for number, ours in replayed_logits(replay, batch, start, entering).items():
                assert_close(ours, expected[number])
        with torch.no_grad():
            torch.testing.assert_close(replay.hidden(batch, 0, None, LAYERS - 1), entering)


@pytest.mark.parametrize("model_type", EVERY)
def test_an_edited_block_is_what_runs(model_type: str) -> None:
    lm = lm_of(model_type)
    replay = BlockReplay(lm)
    unedited = plain_logits(lm)
    (batch, *_) = packed(model_type in CAUSAL)
    entering: list[torch.Tensor | None] = [None]
    with torch.no_grad():
        entering += [replay.hidden(batch, 0, None, block) for block in range(1, LAYERS)]
    for target, edited in edited_weights(lm.model):
        with replaced_weight(target, edited):
            expected = plain_logits(lm)
            for number, ours in replayed_logits(replay, batch, target.layer, entering[target.layer]).items():
                assert_close(ours, expected[number])
                assert not torch.allclose(ours, unedited[number], rtol=1e-2, atol=1e-2)


def state(model: Any) -> list[Any]:
    """What a replay must not leave behind: hooks and functions of modules."""
    return [
        (name, module.__dict__.get("forward"), len(module._forward_pre_hooks), len(module._forward_hooks))
        for name, module in model.named_modules()
    ]


@pytest.mark.parametrize("model_type", ["gptj", "opt", "llama", "roberta", "distilbert"])
@pytest.mark.parametrize("start", [0, 1])
def test_the_model_is_left_as_it_was(model_type: str, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = lm_of(model_type)
    (batch, *_) = packed(model_type in CAUSAL)
    replay = BlockReplay(lm)
    # Someone else's, as accelerate's, stays.
    block = replay.blocks[1]
    block.forward = own = block.forward
    before = state(lm.model)
    with torch.no_grad():
        entering = replay.hidden(batch, 0, None, 1) if start else None
        replay.logits(batch, start, entering, torch.tensor([0]), torch.tensor([0]))
        assert state(lm.model) == before
        monkeypatch.setattr(replay.blocks[2], "forward", broken)
        before = state(lm.model)
        with pytest.raises(ZeroDivisionError):
            replay.logits(batch, start, entering, torch.tensor([0]), torch.tensor([0]))
        replay.hidden(batch, 0, None, 1)
        with pytest.raises(ZeroDivisionError):
            replay._call(batch.tokens, batch.positions, batch.visible, torch.tensor([0]), torch.tensor([0]))
    assert state(lm.model) == before
    assert block.forward is own


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("model_type", EVERY)
def test_the_vocabulary_is_computed_at_the_places_alone(model_type: str) -> None:
    lm = lm_of(model_type)
    replay = BlockReplay(lm)
    (batch, *_) = packed(model_type in CAUSAL)
    assert batch.tokens.numel() > 4
    seen: list[int] = []
    head = lm.model.get_output_embeddings()
    head.forward = functools.partial(counted, head.forward, seen)
    with torch.no_grad():
        replay.logits(batch, 0, None, torch.tensor([0, 1]), torch.tensor([3, 0]))
    assert seen == [2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("model_type", ["gptj", "gpt2", "llama", "roberta"])
def test_other_dtypes(model_type: str, dtype: torch.dtype) -> None:
    lm = lm_of(model_type, tiny_model(model_type, spread=0.1).to(dtype), dtype=str(dtype).removeprefix("torch."))
    replay = BlockReplay(lm)
    expected = plain_logits(lm)
    close = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float64: 1e-5}[dtype]
    for batch in packed(model_type in CAUSAL):
        for number, ours in replayed_logits(replay, batch, 0, None).items():
            assert ours.dtype == dtype
            assert float((ours - expected[number]).abs().max()) <= close * float(expected[number].abs().max())


def counted(forward: Any, seen: list[int], hidden: torch.Tensor) -> Any:
    seen.append(hidden.flatten(0, -2).shape[0])
    return forward(hidden)


@pytest.mark.parametrize(
    ("model_type", "in_parts"),
    [("llama", True), ("cohere2", True), ("bert", True), ("gemma3n_text", False), ("gemma4_text", False)],
)
def test_blocks_that_need_more_of_one_another_than_hidden_states(model_type: str, in_parts: bool) -> None:
    lm = lm_of(model_type, TINY[model_type].build())
    before = state(lm.model)
    replay = BlockReplay(lm)
    assert replay.in_parts is in_parts
    assert state(lm.model) == before


def test_a_block_that_looks_at_what_another_one_has_left_is_not_run_alone(tmp_path: Path) -> None:
    """Neither fails, and the logits differ."""
    lm = lm_of("llama")
    left: list[torch.Tensor] = [torch.zeros(())]
    first, last = lm.model.model.layers[0], lm.model.model.layers[2]
    first.mlp.register_forward_hook(lambda _, __, output: left.append(output.clone()))
    last.mlp.register_forward_hook(lambda _, __, output: output + left[-1])
    lm.model.model.register_forward_pre_hook(lambda _, __: left.append(torch.zeros(())))
    assert not BlockReplay(lm).in_parts
    compare(lm, choices(tmp_path), layers=(2,))


def test_there_are_masked_and_causal_families() -> None:
    assert len(EVERY) == 15
    assert set(CAUSAL) | set(MASKED) == set(EVERY)
