from __future__ import annotations

from typing import Any

import pytest
import torch

from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import Question
from cti_edits.replay.answers import Answers
from cti_edits.replay.batches import read_batches
from cti_edits.replay.memory import BatchSize

SCORED = (
    ScoredTokens((5, 6, 7), (1, 2), (3, 4)),
    ScoredTokens((5, 6, 8), (1, 2), (3, 3)),
    ScoredTokens((5,), (0,), (1,)),
)
DOCUMENTS: Any = None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_likelihoods_are_sums_in_the_precision_of_lm_eval(dtype: torch.dtype) -> None:
    """In bfloat16, -8 and -2^-7 are -8 together: two choices are equal then, and the first one is taken."""
    questions = [Question(0, SCORED, None, 0)]
    (batch,) = read_batches(questions, True, BatchSize(1))
    logprobs = torch.full((len(batch.rows), 10), -20.0, dtype=dtype)
    for number, values in enumerate(((-8.0, -(2.0**-7)), (-8.0, 0.0), (-3.0,))):
        for place, token, value in zip(batch.reads[0, number], SCORED[number].answer, values, strict=True):
            logprobs[place, token] = value
    answers = Answers(DOCUMENTS, questions)
    answers.score(batch, logprobs, logprobs)
    expected = [(float(logprobs[batch.reads[0, n], list(SCORED[n].answer)].sum()), True) for n in range(len(SCORED))]
    assert [answers.responses[0, n] for n in range(len(SCORED))] == expected
    assert (expected[0][0] == expected[1][0]) == (dtype == torch.bfloat16)


def test_an_answer_is_greedy_if_each_of_its_tokens_is_likeliest() -> None:
    questions = [Question(0, SCORED[:1], None, 0)]
    (batch,) = read_batches(questions, True, BatchSize(1))
    for likelier in (None, 0, 1):
        logprobs = torch.full((len(batch.rows), 10), -20.0)
        for index, (place, token) in enumerate(zip(batch.reads[0, 0], SCORED[0].answer, strict=True)):
            logprobs[place, token] = -1.0
            if index == likelier:
                logprobs[place, 9] = -0.5
        answers = Answers(DOCUMENTS, questions)
        answers.score(batch, logprobs, logprobs)
        assert answers.responses[0, 0] == (-2.0, likelier is None)


def test_the_loss_of_a_gold_answer_that_is_not_asked_for_has_the_digits_of_float32() -> None:
    """A generation's gold answer is not lm-eval's request: its loss is no sum of bfloat16."""
    asked = Question(0, (), SCORED[0], 0)
    (batch,) = read_batches([asked], True, BatchSize(1))
    logits = torch.randn((len(batch.rows), 10), generator=torch.Generator().manual_seed(0)).bfloat16()
    answers = Answers(DOCUMENTS, [asked])
    answers.score(batch, logits, torch.log_softmax(logits, dim=-1))
    wide = torch.log_softmax(logits.double(), dim=-1)
    expected = float(wide[batch.reads[0, 0], list(SCORED[0].answer)].sum())
    assert answers._gold[0] == pytest.approx(expected, abs=1e-5)
    assert abs(float(torch.tensor(expected).bfloat16()) - expected) > 1e-4
