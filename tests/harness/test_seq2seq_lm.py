from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.seq2seq_lm import EditedSeq2SeqLM
from tests.support.small_searches import choices, lm_of, written
from tests.support.tiny_models import save_checkpoint

PAIRS = (("the cat says", " moo"), ("a dog says it", " woof"), ("", " moo"), ("her ewe ", "baa"), ("x" * 400, "abc"))
TEXTS = tuple(context for context, _ in PAIRS if context)[:3]


def requests(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, one, 0, ("small", number, 1)) for number, one in enumerate(arguments)]


@pytest.mark.parametrize("model_type", ["t5", "bart", "mbart", "marian"])
def test_every_answer_is_plain_lm_eval_s_bit_for_bit(model_type: str, tmp_path: Path) -> None:
    folder = str(save_checkpoint(tmp_path, model_type))
    plain = HFLM(pretrained=folder, backend="seq2seq", device="cpu", batch_size=2)
    for backend in ({}, {"backend": "seq2seq"}):
        lm = EditedLM.create_from_arg_obj({"pretrained": folder, **backend}, {"device": "cpu", "batch_size": 2})
        assert type(lm) is EditedSeq2SeqLM
        scored = lm.loglikelihood(requests("loglikelihood", list(PAIRS)))
        assert scored == plain.loglikelihood(requests("loglikelihood", list(PAIRS)))
        assert len(set(scored)) == len(PAIRS)
        if backend:
            continue
        texts: list[tuple[Any, ...]] = [(text, {"until": ["\n"], "max_gen_toks": 4}) for text in TEXTS]
        assert lm.generate_until(requests("generate_until", texts)) == plain.generate_until(
            requests("generate_until", texts)
        )
        rolling = requests("loglikelihood_rolling", [(text,) for text in TEXTS])
        assert lm.loglikelihood_rolling(rolling) == plain.loglikelihood_rolling(rolling)


@pytest.mark.parametrize("model_type", ["t5", "bart", "mbart"])
def test_losses_are_those_of_each_answer_by_itself(model_type: str) -> None:
    """Padding, in the encoder or the decoder, changes none of them."""
    lm = lm_of(model_type, batch_size=1)
    gold = [GoldRequest(number, *pair) for number, pair in enumerate(PAIRS)]
    losses = lm.answer_losses(gold)
    alone = lm.loglikelihood(requests("loglikelihood", list(PAIRS)))
    counts = [len(lm.gold_tokens(one).answer) for one in gold]
    assert counts == [4, 5, 4, 4, 3]
    assert losses.tolist() == pytest.approx([-one[0] / n for one, n in zip(alone, counts, strict=True)], rel=1e-5)
    assert losses.requires_grad


def test_the_encoder_is_given_the_context_and_the_decoder_the_answer() -> None:
    lm = lm_of("t5", max_length=30)
    scored = lm.scored_tokens("a dog says", " woof")
    assert (lm.tok_decode(scored.tokens, False), lm.tok_decode(scored.answer, False)) == ("a dog says</s>", " woof")
    assert scored.places == (0, 1, 2, 3, 4)
    # Cut on the left, as lm-eval does; the special token at the end stays.
    long = lm.scored_tokens("x" * 40 + " says", " woof")
    assert lm.tok_decode(long.tokens, False) == "x" * 24 + " says</s>"
    with torch.no_grad():
        logits = lm.model(
            input_ids=torch.tensor([scored.tokens]), decoder_input_ids=torch.tensor([[0, *scored.answer[:-1]]])
        ).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(scored.answer))
    found = lm.answer_losses([GoldRequest(0, "a dog says", " woof")])
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_a_task_is_evaluated_and_its_gold_answers_have_losses(tmp_path: Path) -> None:
    lm = lm_of("bart")
    calibration = choices(tmp_path)
    measured = ReferenceEvaluator(lm, calibration).evaluate()
    assert calibration.labels == ("moo", "woof")
    with torch.no_grad():
        losses = lm.answer_losses(list(calibration.gold)).tolist()
    assert measured.nll == pytest.approx(math.fsum(losses) / len(losses), rel=1e-5)
    right = []
    for gold in calibration.gold:
        said = lm.loglikelihood(requests("loglikelihood", [(gold.context, " moo"), (gold.context, " woof")]))
        right.append((said[0][0] >= said[1][0]) == (gold.continuation == " moo"))
    assert measured.correct == tuple(right)
    text = written(tmp_path, "{max_gen_toks: 3, until: []}")
    measured = ReferenceEvaluator(lm, text).evaluate()
    with torch.no_grad():
        losses = lm.answer_losses(list(text.gold)).tolist()
    assert measured.nll == pytest.approx(math.fsum(losses) / len(losses), rel=1e-5)


def test_a_backend_for_causal_models_is_refused() -> None:
    with pytest.raises(EditError, match="backend: an encoder-decoder takes seq2seq alone, got 'causal'"):
        lm_of("t5", backend="causal")


def test_tasks_for_masked_models_are_refused() -> None:
    request = Instance("loglikelihood", {}, ("It is <mask>", " so"), 0, ("cti_fever_masked", 0, 1))
    with pytest.raises(EditError, match=r"is for masked language models and this one is seq2seq; use cti_fever$"):
        lm_of("t5").loglikelihood([request])
