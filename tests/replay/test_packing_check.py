"""A model that gives other logits when sequences are packed is found out before anything is measured."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.harness.calibration import draw
from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import Question, UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.replay import layout
from cti_edits.replay.batches import read_batches
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.packing_check import check_packing
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from tests.support.evaluators import compare
from tests.support.small_searches import choices, lm_of
from tests.support.small_tasks import write_task
from tests.support.tiny_models import tiny_model


def test_the_longest_sequence_is_compared_even_where_another_row_holds_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short sequences fill a row; the one that is beyond the window has another."""
    monkeypatch.setattr(layout, "BatchSize", functools.partial(BatchSize, row_tokens=130))
    more = """validation_split: validation
doc_to_text: "{{text}}"
doc_to_choice: !function ROWS.some
doc_to_target: gold
"""
    name = write_task(tmp_path, "uneven", more=more)
    with (tmp_path / "uneven_rows.py").open("a") as file:
        file.write("\ndef some(doc):\n    return ['b' * 120 if 'ewe' in doc['text'] else doc['text'][::-1], 'c']\n")
    calibration = draw(load_task(name, str(tmp_path)), 10, seed=0)
    lm = lm_of("mistral", tiny_model("mistral", sliding_window=400))
    compare(lm, calibration, layers=(1,))
    replay = BlockReplay(lm)
    lm.model.config.sliding_window = 100
    with pytest.raises(UnsupportedError):
        ReplayEvaluator(lm, calibration, replay=replay)
    compare(lm, calibration, layers=(1,))


def test_a_model_that_ignores_masks_is_found_out(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    plain = lm.model.forward

    def careless(**named: Any) -> Any:
        named["attention_mask"] = None
        return plain(**named)

    lm.model.forward = careless
    with pytest.raises(UnsupportedError, match="GPTJForCausalLM gives other logits"):
        ReplayEvaluator(lm, choices(tmp_path))


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention"])
def test_attention_that_takes_no_masks(attention: str) -> None:
    lm = lm_of("llama")
    replay = BlockReplay(lm)
    lm.model.config._attn_implementation_internal = attention
    with pytest.raises(UnsupportedError, match=f"^attention by {attention} does not take the masks of packed rows"):
        check_packing(lm, replay, [], [])


def test_rounding_in_half_precision_is_no_wrong_packing() -> None:
    """Some of many logits about 20 are off by more than a quarter; a window of its own shows all the same."""
    generator = torch.Generator().manual_seed(0)
    drawn = [tuple(torch.randint(5, 4999, (40,), generator=generator).tolist()) for _ in range(4)]
    asked = [Question(i, (ScoredTokens(one, tuple(range(40)), one),), None, 0) for i, one in enumerate(drawn)]
    batches = read_batches(asked, True, BatchSize(1))
    size = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 12, "head_dim": 128, "vocab_size": 5000}
    for window in (None, 10):
        model = tiny_model("mistral", spread=0.03, sliding_window=None, **size)
        with torch.no_grad():
            model.lm_head.weight.mul_(10)
        lm = lm_of("mistral", model.to(torch.bfloat16), dtype="bfloat16")
        replay = BlockReplay(lm)
        model.config.sliding_window = window
        if window is None:
            check_packing(lm, replay, asked, batches)
        else:
            with pytest.raises(UnsupportedError):
                check_packing(lm, replay, asked, batches)


def test_mixed_precision_is_compared_with_mixed_precision(tmp_path: Path) -> None:
    lm = lm_of("gptj", tiny_model("gptj", spread=0.1), mixed_precision_dtype="bfloat16")
    calibration = choices(tmp_path)
    ours = ReplayEvaluator(lm, calibration).evaluate()
    assert ours is not None
    assert ours.nll == pytest.approx(ReferenceEvaluator(lm, calibration).evaluate().nll, rel=2e-2)
