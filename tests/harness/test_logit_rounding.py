from __future__ import annotations

import pytest
import torch

from cti_edits.harness.lm import EditedLM
from cti_edits.harness.logit_rounding import beyond_rounding
from tests.support.tiny_models import byte_tokenizer, tiny_model


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16])
def lm(request: pytest.FixtureRequest) -> EditedLM:
    model = tiny_model("llama").to(request.param)
    return EditedLM(pretrained=model, tokenizer=byte_tokenizer(), device="cpu")


def logits(dtype: torch.dtype) -> torch.Tensor:
    values: torch.Tensor = torch.randn(3, 264, generator=torch.Generator().manual_seed(0)) * 5
    return values.to(dtype)


def test_what_rounding_explains_is_no_difference(lm: EditedLM) -> None:
    found = logits(lm.model.dtype)
    assert beyond_rounding(lm, found, found) is None
    assert beyond_rounding(lm, found * (1 + 1e-5), found) is None
    # Logits are known up to a constant.
    assert beyond_rounding(lm, found + 2, found) is None


def test_other_logits_are_a_difference_of_their_size(lm: EditedLM) -> None:
    found = logits(lm.model.dtype)
    off = beyond_rounding(lm, found.roll(1, dims=-1), found)
    assert off is not None
    assert off > 1


def test_one_logit_is_told_in_full_precision() -> None:
    lm = EditedLM(pretrained=tiny_model("llama"), tokenizer=byte_tokenizer(), device="cpu")
    found = logits(torch.float32)
    other = found.clone()
    other[1, 7] += 0.5
    assert beyond_rounding(lm, other, found) == pytest.approx(0.5, abs=0.1)


def test_tokens_that_have_no_probability_are_left_out(lm: EditedLM) -> None:
    found = logits(lm.model.dtype)
    found[:, 5] = -float("inf")
    assert beyond_rounding(lm, found, found) is None
    assert beyond_rounding(lm, torch.full_like(found, float("nan")), found) is None
