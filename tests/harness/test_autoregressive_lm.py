from __future__ import annotations

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.autoregressive_lm import answer_loss
from tests.support.small_searches import lm_of

MODEL_TYPES = ("gptj", "t5")


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_an_empty_context_is_the_prefix_token(model_type: str) -> None:
    lm = lm_of(model_type)
    assert lm.encoded("", "moo") == ([1], lm.tok_encode("moo", add_special_tokens=False))
    # lm-eval has no second one where the answer begins with it.
    assert lm.encoded("", "<s>moo")[0] == [1]
    assert lm.encoded("", "<s>moo")[1] == lm.encoded("", "moo")[1]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_blanks_at_the_end_of_a_context_belong_to_the_answer(model_type: str) -> None:
    lm = lm_of(model_type)
    assert lm.encoded("a dog says ", "woof") == lm.encoded("a dog says", " woof")


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_an_answer_has_tokens_and_fits_the_model(model_type: str) -> None:
    lm = lm_of(model_type, max_length=20)
    with pytest.raises(EditError, match=r"^the answer '' has no tokens$"):
        lm.encoded("a dog", "")
    assert len(lm.encoded("a dog", "x" * 20)[1]) == 20
    with pytest.raises(EditError, match="the answer has 21 tokens, more than the 20 that the model takes"):
        lm.encoded("a dog", "x" * 21)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_loss_of_an_answer_is_the_mean_over_its_tokens(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    found = answer_loss(logits, (2, 0, 6))
    expected = -logits.double().log_softmax(-1)[[0, 1, 2], [2, 0, 6]].mean()
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
