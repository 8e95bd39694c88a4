"""Greedy decoding of several sequences together, against each by itself and without a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from cti_edits.replay.block_replay import BlockReplay, CachePart
from cti_edits.replay.decoding import UnfinishedText, decode
from cti_edits.replay.packed_rows import pack
from tests.support.small_searches import lm_of

PROMPTS = ((70, 71, 72, 73, 74, 75), (70, 71), (90, 91, 92, 93))


def alone(model: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    """The likeliest tokens one by one, the whole text anew each time."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def after(count: int) -> Callable[[Sequence[int]], bool]:
    return lambda written: len(written) == count


@pytest.mark.parametrize("model_type", ["gptj", "gpt2", "llama"])
@pytest.mark.parametrize("lengths", [(2, 5, 4), (6, 2, 2), (3, 3, 3)])
@torch.no_grad()
def test_each_text_is_as_by_itself_whichever_ends_first(model_type: str, lengths: tuple[int, ...]) -> None:
    lm = lm_of(model_type)
    replay = BlockReplay(lm)
    (batch,) = pack(PROMPTS, range(len(PROMPTS)), causal=True, rows_per_batch=8)
    rows, columns = zip(
        *((batch.paths[number][0], batch.paths[number][1][-1]) for number in range(len(PROMPTS))), strict=True
    )
    cache = replay.empty_cache()
    logits = replay.logits(batch, 0, None, torch.tensor(rows), torch.tensor(columns), cache)
    unfinished = [
        UnfinishedText(batch.paths[number][0], list(batch.paths[number][1]), [token], after(length))
        for number, (token, length) in enumerate(zip(logits.argmax(dim=-1).tolist(), lengths, strict=True))
    ]
    part = CachePart(cache, cache, [text.row for text in unfinished], [text.path for text in unfinished])
    decode(replay, replay.gathered_cache([part], 0), unfinished)
    expected = [alone(lm.model, prompt, length) for prompt, length in zip(PROMPTS, lengths, strict=True)]
    assert [text.written for text in unfinished] == expected
    assert len({tuple(text) for text in expected}) > 1
