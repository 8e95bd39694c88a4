"""What the reference evaluator gives, example by example, and how often the encoder runs for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import draw
from cti_edits.harness.questions import UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.models.apply import target_matrices
from cti_edits.replay import encoder_decoder_evaluator as module
from cti_edits.replay.encoder_decoder_evaluator import EncoderDecoderEvaluator
from cti_edits.replay.session import Session, replaced_weight
from studies.tiny.encoder_decoders import SEQ2SEQ
from tests.support.evaluators import assert_same
from tests.support.small_searches import Notes, choices, failing, lm_of, written
from tests.support.tiny_models import tiny_model


def edits(lm: Any) -> Any:
    """A matrix of each block of either stack, another weight for it, and the number of the block."""
    depth = module.encoder_depth(lm.model)
    for target in target_matrices(lm.model, ("U_in",)):
        first = target.layer + (depth if target.stack == "decoder" else 0)
        yield target, target.weight * -1.5, first


ALWAYS = ("t5", "bart", "longt5", "led")
TYPES = [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.thorough) for name in SEQ2SEQ]


@pytest.mark.parametrize("model_type", TYPES)
def test_every_edit_of_either_stack_gives_what_the_reference_gives(model_type: str, tmp_path: Path) -> None:
    lm = lm_of(model_type)
    calibration = choices(tmp_path)
    evaluator, reference = EncoderDecoderEvaluator(lm, calibration), ReferenceEvaluator(lm, calibration)
    unedited = reference.evaluate()
    assert_same(evaluator.evaluate(), unedited)
    found = []
    for target, weight, first in edits(lm):
        with replaced_weight(target, weight):
            found.append(reference.evaluate())
            for start in {0, first}:
                assert_same(evaluator.evaluate(start), found[-1])
    assert len({one.nll for one in (*found, unedited)}) == 6
    assert_same(evaluator.evaluate(5), unedited)


def test_likelihoods() -> None:
    lm = lm_of("t5")
    calibration = draw(load_task("capitals"), 9, seed=0)
    assert_same(EncoderDecoderEvaluator(lm, calibration).evaluate(), ReferenceEvaluator(lm, calibration).evaluate())


@pytest.mark.parametrize(("kept", "again"), [(module.KEPT_BYTES, 0), (0, 1)])
def test_each_context_is_encoded_once_until_the_encoder_is_edited(
    kept: int, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", kept)
    lm = lm_of("bart")
    evaluator = EncoderDecoderEvaluator(lm, choices(tmp_path))
    rows: list[int] = []
    lm.model.get_encoder().register_forward_pre_hook(
        lambda _, __, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    evaluator.evaluate(3)
    rows.clear()
    evaluator.evaluate(3)
    assert sum(rows) == 7 * again
    evaluator.evaluate(1)
    # Two choices, and one pass of their context.
    assert sum(rows) == 7 * (1 + again)


def test_it_stops_where_the_rest_is_not_needed(tmp_path: Path) -> None:
    lm = lm_of("t5")
    evaluator = EncoderDecoderEvaluator(lm, choices(tmp_path))
    evaluator._size.one_example_a_batch()
    evaluator._pack_anew()
    asked: list[int] = []

    def stop(wrong: int, loss: float) -> bool:
        asked.append(wrong)
        return len(asked) == 3

    assert evaluator.evaluate(0, stop) is None
    assert len(asked) == 3
    assert evaluator.evaluate(0, lambda *_: False) is not None


def test_batches_halve_where_the_memory_is_exhausted(tmp_path: Path) -> None:
    lm = lm_of("t5")
    calibration = choices(tmp_path)
    evaluator = EncoderDecoderEvaluator(lm, calibration)
    expected = evaluator.evaluate()
    assert expected is not None
    encoder = lm.model.get_encoder()
    encoder.forward = failing(encoder.forward, lambda tokens: tokens.numel() > 60)
    assert_same(evaluator.evaluate(), expected)
    assert evaluator.batch_tokens == 64
    encoder.forward = failing(encoder.forward, lambda _: True)
    with pytest.raises(EditError, match=r"the memory of cpu does not hold one example of 2\d tokens beside the model"):
        evaluator.evaluate()


def test_texts_are_left_to_the_reference_evaluator_with_a_note(tmp_path: Path) -> None:
    lm = lm_of("t5")
    notes = Notes()
    with Session(lm, progress=notes) as session:
        assert isinstance(session.evaluator(choices(tmp_path)), EncoderDecoderEvaluator)
        assert notes.lines == []
        text = written(tmp_path, "{max_gen_toks: 3, until: []}")
        assert isinstance(session.evaluator(text), ReferenceEvaluator)
    assert notes.lines == [
        "the reference evaluator takes over, which is slower: an encoder-decoder writes its texts through lm-eval"
    ]


def test_a_decoder_that_begins_with_what_lm_eval_pads_with_is_left_to_it(tmp_path: Path) -> None:
    """mBART's begins with the last token that it is given; lm-eval pads with 0, whatever the model pads with."""
    lm = lm_of("mbart", tiny_model("mbart", pad_token_id=3))
    with pytest.raises(UnsupportedError, match="MBartForConditionalGeneration gives other logits in batches"):
        EncoderDecoderEvaluator(lm, choices(tmp_path))


def test_a_loss_that_is_no_number_names_the_row(tmp_path: Path) -> None:
    lm = lm_of("bart")
    calibration = choices(tmp_path)
    evaluator = EncoderDecoderEvaluator(lm, calibration)
    with torch.no_grad():
        lm.model.get_decoder().layers[1].fc1.weight.fill_(torch.nan)
    with pytest.raises(EditError, match=rf"gold answer on row {calibration.doc_ids[0]} is nan"):
        evaluator.evaluate()
