"""A model that goes on from its cache otherwise than from the text is found out before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cti_edits.harness.questions import UnsupportedError
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.continuation_check import check_continuation
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from studies.tiny import TINY
from tests.support.evaluators import compare
from tests.support.small_searches import choices, lm_of, written
from tests.support.tiny_models import tiny_model


def test_a_window_that_only_written_texts_are_beyond(tmp_path: Path) -> None:
    """Of which the model's config did not tell when its blocks were taken."""
    calibration = written(tmp_path, "{max_gen_toks: 9, until: []}")
    lm = lm_of("mistral", tiny_model("mistral", sliding_window=None))
    replay = BlockReplay(lm)
    longest = max(len(request.context) for request in calibration.gold)
    lm.model.config.sliding_window = longest + 9
    ReplayEvaluator(lm, calibration, replay=replay)
    lm.model.config.sliding_window = longest + 5
    with pytest.raises(UnsupportedError, match=r"^MistralForCausalLM gives other logits when a text is continued"):
        ReplayEvaluator(lm, calibration, replay=replay)


def test_a_cache_that_cannot_be_gathered(tmp_path: Path) -> None:
    lm = lm_of("llama")
    replay = BlockReplay(lm)

    def broken(*_: Any, **__: Any) -> Any:
        raise AttributeError("'State' object has no attribute 'keys'")

    replay.gathered_cache = broken  # type: ignore[method-assign]
    with pytest.raises(UnsupportedError, match=r"^LlamaForCausalLM goes on with no text from its cache: 'State'"):
        ReplayEvaluator(lm, written(tmp_path, "{max_gen_toks: 3}"), replay=replay)
    ReplayEvaluator(lm, choices(tmp_path), replay=replay)


def test_nothing_is_run_where_nothing_is_written() -> None:
    lm = lm_of("llama")
    replay = BlockReplay(lm)
    lm.model.forward = None
    check_continuation(lm, replay, [])


@pytest.mark.parametrize("model_type", ["gemma3n_text", "gemma4_text"])
def test_blocks_that_share_keys_and_values(model_type: str, tmp_path: Path) -> None:
    """The cache has none of those that take theirs from another block."""
    compare(lm_of(model_type, TINY[model_type].build()), written(tmp_path, "{max_gen_toks: 4, until: []}"), layers=(2,))
