"""The comparison of an edit with its base on other text, against the same by plain PyTorch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from cti_edits.artifact.matrix_id import StackName
from cti_edits.artifact.records import Guard
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NotFiniteError
from cti_edits.harness.other_text import OtherText, other_text
from cti_edits.models.apply import applied
from cti_edits.replay.session import Session
from cti_edits.search import guard as module
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.choice import RefusedError
from cti_edits.search.guard import KlLimit, TextGuard, guarded
from cti_edits.search.settings import GUARD_PIECES
from tests.support.edits import edit_of
from tests.support.small_searches import Notes, edited_weights, lm_of

TEXT = OtherText("a few words", "The cat sat on the mat, and the dog lay down beside it. " * 12)
PLACES = (("U_in", 0, 2, 0.05), ("U_out", 1, 1, 0.05))


def expected_logits(model: Any, piece: Any, kind: str) -> torch.Tensor:
    """By one call of the model for one piece, without padding or the project's code."""
    inputs = torch.tensor([piece.tokens])
    if kind == "seq2seq":
        logits: torch.Tensor = model(input_ids=inputs, labels=torch.tensor([piece.answer])).logits[0]
        return logits
    logits = model(input_ids=inputs).logits[0]
    return logits[list(piece.places)]


@pytest.mark.parametrize("model_type", ["gptj", "roberta", "t5", "bart"])
def test_kl_and_perplexities_are_those_of_plain_torch(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDENED", 1000)
    lm = lm_of(model_type)
    session = Session(lm)
    stack: StackName | None = "decoder" if lm.kind == "seq2seq" else None
    (target, weight), *_ = edited_weights(lm.model, layers=(1,), stack=stack)
    former = target.weight.clone()
    found = TextGuard(session, TEXT).measure([(target, weight)])
    assert torch.equal(target.weight, former)
    pieces = lm.text_pieces(TEXT.text, module.WIDTH)
    assert len(pieces) > 1
    with torch.no_grad():
        base = torch.cat([expected_logits(lm.model, piece, lm.kind) for piece in pieces])
        with session.replaced_weight(target, weight):
            edited = torch.cat([expected_logits(lm.model, piece, lm.kind) for piece in pieces])
    answers = torch.tensor([token for piece in pieces for token in piece.answer])
    p, q = (logits.double().log_softmax(-1) for logits in (base, edited))
    kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
    assert kl > 1e-3, "the edit changes nothing, so this test shows nothing"
    assert found.tokens == len(answers)
    assert found.kl == pytest.approx(float(kl), rel=1e-4)
    for perplexity, logits in ((found.baseline_perplexity, base), (found.edited_perplexity, edited)):
        assert perplexity == pytest.approx(float(torch.nn.functional.cross_entropy(logits, answers).exp()), rel=1e-4)


def test_the_pieces_of_a_causal_model_are_the_text_after_the_prefix() -> None:
    lm = lm_of("gptj")
    pieces = lm.text_pieces(TEXT.text, 100)
    tokens = lm.tok_encode(TEXT.text, add_special_tokens=False)
    assert [token for piece in pieces for token in piece.answer] == tokens[: 100 * len(pieces)]
    assert all(piece.tokens == (lm.prefix_token_id, *piece.answer[:-1]) for piece in pieces)
    assert len(tokens) - 100 < 100 * len(pieces) <= len(tokens)


def test_a_masked_model_is_asked_for_one_token_of_eight() -> None:
    lm = lm_of("roberta")
    tokens = lm.tok_encode(TEXT.text, add_special_tokens=False)
    first, *_ = lm.text_pieces(TEXT.text, 64)
    mask = lm.tokenizer.mask_token_id
    inside = first.tokens[1:-1]
    assert [place for place, token in enumerate(inside) if token == mask] == list(range(4, 64, 8))
    assert list(first.answer) == tokens[4:64:8]
    assert [new if new != mask else old for new, old in zip(inside, tokens, strict=False)] == tokens[:64]


def test_an_encoder_decoder_reads_one_half_and_writes_the_other() -> None:
    lm = lm_of("t5")
    first, *_ = lm.text_pieces(TEXT.text, 64)
    tokens = lm.tok_encode(TEXT.text, add_special_tokens=False)
    assert list(first.answer) == tokens[32:64]
    assert list(first.tokens) == lm.tok_encode(lm.tok_decode(tokens[:32]))


def test_the_same_edit_by_its_weights_and_by_its_manifest() -> None:
    lm = lm_of("gptj")
    session, edit = Session(lm), edit_of(lm.model, *PLACES)
    guard = TextGuard(session, TEXT)
    former = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    found = guarded(session, guard, edit, Notes())
    assert all(torch.equal(tensor, former[name]) for name, tensor in lm.model.state_dict().items())
    base = guard.measure([])
    assert (base.kl, base.baseline_perplexity) == (0.0, base.edited_perplexity)
    with applied(edit, lm.model):
        after = guard.measure([])
    assert found is not None
    assert (found.baseline_perplexity, found.edited_perplexity) == (base.edited_perplexity, after.edited_perplexity)
    assert found.kl > 0
    assert guarded(session, guard, edit_of(lm.model), Notes()) is None


def test_what_is_not_finite_is_no_figure() -> None:
    lm = lm_of("gptj")
    session, notes = Session(lm), Notes()
    guard = TextGuard(session, TEXT)
    (target, weight), *_ = edited_weights(lm.model, layers=(1,))
    with pytest.raises(NotFiniteError, match=r"on a few words, a likelihood is 0 or not finite"):
        guard.measure([(target, torch.full_like(weight, math.nan))])
    edit = edit_of(lm.model, *PLACES)
    with torch.no_grad():
        lm.model.lm_head.weight.fill_(math.nan)
    assert guarded(session, guard, edit, notes) is None
    assert notes.lines == ["guard: on a few words, a likelihood is 0 or not finite"]


def test_a_limit_refuses_what_is_above_it() -> None:
    lm = lm_of("gptj")
    guard = TextGuard(Session(lm), TEXT)
    (weights, *_) = [[one] for one in edited_weights(lm.model, layers=(1,))]
    kl, cut = guard.measure(weights).kl, RankCut(MatrixId(1, "U_in"), 2, 0.1)
    KlLimit(guard, 1.01 * kl).check(cut, weights)
    with pytest.raises(RefusedError, match=rf"its KL on other text is {kl:.4g} nats, above .* \(max_kl\)"):
        KlLimit(guard, 0.99 * kl).check(cut, weights)


def test_the_bundled_text_fills_some_thousand_tokens_and_a_short_one_is_refused() -> None:
    text = other_text(None)
    assert text is not None
    found = TextGuard(Session(lm_of("gptj")), text).measure([])
    assert isinstance(found, Guard)
    assert (found.text, found.tokens) == ("bundled", module.WIDTH * GUARD_PIECES)
    with pytest.raises(EditError, match="guard: short: expected a text of two tokens or more"):
        TextGuard(Session(lm_of("gptj")), OtherText("short", "a"))
