from __future__ import annotations

import pytest

from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import FilledMasks, Question, UnsupportedError
from cti_edits.harness.seq2seq_lm import NO_TOKEN
from cti_edits.replay.answer_batches import answer_batches


def scored(context: list[int], answer: list[int]) -> ScoredTokens:
    return ScoredTokens(tuple(context), tuple(range(len(answer))), tuple(answer))


QUESTIONS = [
    Question(7, (scored([5, 6], [1]), scored([5, 6], [2, 3])), None, 1),
    Question(8, (scored([7, 8, 9, 4], [1]), scored([7, 8, 9, 4], [2, 3])), None, 0),
    # One whose choices are the contexts.
    Question(9, (scored([4], [9, 9, 9]), scored([5, 6], [9, 9, 9])), None, 0),
]


def test_a_context_is_there_once_with_every_answer_to_it() -> None:
    (batch,) = answer_batches(QUESTIONS, 1000)
    assert batch.inputs.tolist() == [[5, 6, 0, 0], [7, 8, 9, 4], [4, 0, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.context_of.tolist() == [0, 0, 1, 1, 2, 0]
    n = NO_TOKEN
    assert batch.labels.tolist() == [[1, n, n], [2, 3, n], [1, n, n], [2, 3, n], [9, 9, 9], [9, 9, 9]]
    assert batch.examples == [0, 1, 2]
    assert batch.scored == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    # At each place, the label there is the token that is scored.
    assert batch.labels[batch.rows, batch.columns].tolist() == batch.scored_tokens.tolist()
    assert [batch.scored_tokens[batch.reads[name]].tolist() for name in batch.scored] == [
        list(QUESTIONS[example].sequences[number].answer)  # type: ignore[union-attr]
        for example, number in batch.scored
    ]
    assert batch.scored_places.tolist() == list(range(12))


@pytest.mark.parametrize("tokens", [1, 15, 16, 29, 30])
def test_batches_hold_so_many_tokens_with_padding_or_one_example(tokens: int) -> None:
    batches = answer_batches(QUESTIONS, tokens)
    assert sorted(example for batch in batches for example in batch.examples) == [0, 1, 2]
    for batch in batches:
        assert batch.inputs.numel() + batch.labels.numel() <= tokens or len(batch.examples) == 1
    # The longest first, so that what does not fit the memory shows at once.
    assert 1 in batches[0].examples
    assert len(batches) == {1: 3, 15: 3, 16: 2, 29: 2, 30: 1}[tokens]


def test_what_is_no_likelihood_is_left_to_lm_eval() -> None:
    other = Question(3, (FilledMasks((1, 2), (0,), None),), None, 0)
    with pytest.raises(UnsupportedError, match="an encoder-decoder writes its texts through lm-eval"):
        answer_batches([*QUESTIONS, other], 100)
