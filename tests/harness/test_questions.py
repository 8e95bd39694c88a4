"""What the examples of a calibration set ask of a model, as token sequences and places in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.documents import Documents
from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import FilledMasks, GeneratedText, Question, UnsupportedError, questions
from tests.support.small_searches import choices, lm_of, written

CAUSAL, MASKED = lm_of("gptj"), lm_of("roberta")


def asked(lm: Any, calibration: CalibrationSet) -> list[Question]:
    return questions(lm, calibration, Documents(calibration))


def ids(text: str) -> tuple[int, ...]:
    return tuple(CAUSAL.tok_encode(text))


def test_choices_are_scored_where_their_tokens_are_predicted(tmp_path: Path) -> None:
    calibration = choices(tmp_path)
    found = asked(CAUSAL, calibration)
    assert [question.doc_id for question in found] == list(calibration.doc_ids)
    for question, gold, index in zip(found, calibration.gold, calibration.gold_index, strict=True):
        assert question.gold is None
        assert question.gold_index == index
        for choice, sequence in zip((" moo", " woof"), question.asked, strict=True):
            assert isinstance(sequence, ScoredTokens)
            prompt, answer = ids(gold.context), ids(choice)
            assert sequence.tokens == (*prompt, *answer[:-1])
            assert sequence.answer == answer
            assert sequence.places == tuple(range(len(prompt) - 1, len(sequence.tokens)))
        assert question.gold_tokens == len(ids((" moo", " woof")[index]))


def test_a_text_that_is_written_has_its_gold_answer_beside_it(tmp_path: Path) -> None:
    calibration = written(tmp_path, "{max_gen_toks: 3, until: ['z']}")
    for question, gold in zip(asked(CAUSAL, calibration), calibration.gold, strict=True):
        (text,) = question.asked
        assert isinstance(text, GeneratedText)
        assert (text.prompt, text.tokens) == (ids(gold.context), ids(gold.context))
        assert (text.generation.room, text.places) == (3, (len(text.prompt) - 1,))
        assert question.gold is not None
        assert question.gold.answer == ids(gold.continuation)
        assert question.sequences == (text, question.gold)
        assert question.gold_tokens == len(question.gold.places)


def test_a_draft_is_checked_token_by_token_and_its_last_predicts_nothing(tmp_path: Path) -> None:
    question = asked(CAUSAL, written(tmp_path, "{max_gen_toks: 3, until: []}"))[0]
    (text,) = question.with_drafts([(7, 8, 9)]).asked
    assert isinstance(text, GeneratedText)
    start = len(text.prompt)
    assert text.tokens == (*text.prompt, 7, 8)
    assert text.places == (start - 1, start, start + 1)
    with pytest.raises(ValueError, match="argument"):
        question.with_drafts([])


def test_a_masked_model_fills_in_its_masks(tmp_path: Path) -> None:
    calibration = written(tmp_path, "{until: ['e', 'q']}", text="{{text}} <mask> says <mask>")
    mask = MASKED.tokenizer.mask_token_id
    for question in asked(MASKED, calibration):
        (text,) = question.asked
        assert isinstance(text, FilledMasks)
        assert [text.tokens[place] for place in text.places] == [mask, mask]
        assert text.tokens.count(mask) == 2
        assert text.text(MASKED, ids("the sea")) == "th"
        assert question.with_drafts([(1, 2)]) == question


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        ("{do_sample: true, temperature: 0.7}", "", "more than greedy generation"),
        ("{max_gen_toks: 2, until: []}", "repeats: 2\n", "each answer more than once"),
    ],
)
def test_what_replay_cannot_ask_is_for_the_reference_evaluator(
    arguments: str, more: str, said: str, tmp_path: Path
) -> None:
    calibration = written(tmp_path, arguments + "\n" + more)
    with pytest.raises(UnsupportedError, match=said):
        asked(CAUSAL, calibration)
