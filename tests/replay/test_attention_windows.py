"""How far back each block looks is what transformers' config says, and what its masks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.masking_utils import (
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_chunked_causal_mask,
    create_sliding_window_causal_mask,
)

from cti_edits.replay.attention_windows import Window, attention_windows
from studies.tiny import TINY
from tests.support.evaluators import compare
from tests.support.small_searches import choices, lm_of, written

LENGTH = 11


@pytest.mark.parametrize(
    ("model_type", "settings", "expected"),
    [
        ("llama", {}, (None, None, None)),
        ("mistral", {"sliding_window": 6}, (Window(6),) * 3),
        ("mistral", {"sliding_window": None}, (None, None, None)),
        ("qwen2", {"sliding_window": 6}, (None, None, None)),
        ("qwen2", {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}, (None, *[Window(6)] * 2)),
        ("gemma3_text", {"sliding_window": 6}, (Window(6), None, Window(6))),
        ("gemma3", {}, (Window(12), None, Window(12))),
        (
            "llama4_text",
            {"attention_chunk_size": 5, "no_rope_layers": [1, 0, 1]},
            (Window(5, True), None, Window(5, True)),
        ),
        ("modernbert", {"local_attention": 6}, (None, Window(3), None)),
    ],
)
def test_windows_of_a_config(model_type: str, settings: dict[str, Any], expected: tuple[Window | None, ...]) -> None:
    assert attention_windows(TINY[model_type].config(**settings), 3) == expected


def test_a_config_that_speaks_of_other_blocks_says_nothing() -> None:
    assert attention_windows(TINY["gemma3_text"].config(), 4) == (None,) * 4


@pytest.mark.parametrize(
    ("window", "causal", "made_by"),
    [
        (Window(4), True, create_sliding_window_causal_mask),
        (Window(4, chunked=True), True, create_chunked_causal_mask),
        (Window(4), False, create_bidirectional_sliding_window_mask),
    ],
)
def test_what_is_in_a_window_is_what_transformers_masks_leave(window: Window, causal: bool, made_by: Any) -> None:
    config = TINY["mistral"].config(sliding_window=4)
    config.attention_chunk_size, config._attn_implementation = 4, "eager"
    asked = {"config": config, "inputs_embeds": torch.zeros(1, LENGTH, 32), "attention_mask": None}
    more = {"past_key_values": None} if causal else {}
    theirs = made_by(**asked, **more)[0, 0] == 0
    at = torch.arange(LENGTH)
    ours = window.holds(at[:, None], at[None], causal)
    if causal:
        ours = ours & (create_causal_mask(**asked, past_key_values=None)[0, 0] == 0)
    assert torch.equal(ours, theirs)
    assert not bool(ours.all())


@pytest.mark.parametrize("model_type", ["mistral", "gemma3_text"])
def test_prompts_that_are_longer_than_the_window(model_type: str, tmp_path: Path) -> None:
    compare(lm_of(model_type, TINY[model_type].build(sliding_window=6)), choices(tmp_path), layers=(1,))


def test_texts_that_become_longer_than_the_window(tmp_path: Path) -> None:
    calibration = written(tmp_path, "{max_gen_toks: 9, until: []}")
    longest = max(len(request.context) for request in calibration.gold)
    lm = lm_of("mistral", TINY["mistral"].build(sliding_window=longest + 5))
    compare(lm, calibration, layers=(1,))
