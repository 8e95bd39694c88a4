from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import RobertaTokenizer

from cti_edits.errors import EditError
from cti_edits.harness.masked_prompt import PromptEncoder
from tests.support.tiny_models import byte_tokenizer
from tests.support.tiny_tokenizers import masked_tokenizer

STYLES = ("byte_bpe", "wordpiece", "unigram")
CLAIM = "Is this claim true or false. The claim is"
LONG = "Paris is the capital of France, and the sea is dry. " * 5


@pytest.fixture(params=STYLES)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return masked_tokenizer(request.param)


def ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text with masks, as the tokenizer itself has them."""
    found: list[int] = tokenizer(text.replace("<mask>", tokenizer.mask_token))["input_ids"]
    return found


def bare(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


@pytest.mark.parametrize("answer", [" true", " non-entailment", " quick brown fox"])
@pytest.mark.parametrize(
    ("context", "filled"),
    [
        (CLAIM, f"{CLAIM} MASKS"),
        (f"{CLAIM} ", f"{CLAIM} MASKS"),
        (f"{CLAIM} <mask>", f"{CLAIM} MASKS"),
        ("The capital of Peru is <mask>.", "The capital of Peru is MASKS."),
        ("<mask> is the capital of France", "MASKS is the capital of France"),
        ("", "MASKS"),
    ],
)
def test_one_mask_or_none_becomes_one_for_each_token_of_the_answer(
    tokenizer: Any, context: str, filled: str, answer: str
) -> None:
    prompt, wanted = PromptEncoder(tokenizer, 512).answered(context, answer)
    assert list(wanted) == bare(tokenizer, answer)
    assert list(prompt.tokens) == ids(tokenizer, filled.replace("MASKS", "<mask>" * len(wanted)))
    masks = [index for index, token in enumerate(prompt.tokens) if token == tokenizer.mask_token_id]
    assert list(prompt.places) == masks
    assert len(masks) == len(wanted)


def test_an_answer_takes_the_first_of_several_masks(tokenizer: Any) -> None:
    context = f"{CLAIM} <mask> <mask>, or <mask>."
    prompt, wanted = PromptEncoder(tokenizer, 512).answered(context, " claim")
    assert len(wanted) == 1
    assert list(prompt.tokens) == ids(tokenizer, context)
    assert prompt.places == (prompt.tokens.index(tokenizer.mask_token_id),)


def test_masks_that_several_lack_are_put_after_the_last_of_them(tokenizer: Any) -> None:
    prompt, wanted = PromptEncoder(tokenizer, 512).answered("The <mask>, or <mask>.", " quick brown fox over")
    assert len(wanted) > 2
    assert list(prompt.tokens) == ids(tokenizer, "The <mask>, or " + "<mask>" * (len(wanted) - 1) + ".")
    assert len(prompt.places) == len(wanted)


def test_the_model_s_own_mask_token_is_a_mask_too(tokenizer: Any) -> None:
    encoder = PromptEncoder(tokenizer, 512)
    assert encoder.answered(f"{CLAIM} {tokenizer.mask_token}.", " true") == encoder.answered(
        f"{CLAIM} <mask>.", " true"
    )


def test_every_mask_of_a_prompt_is_asked_for_when_there_is_no_answer(tokenizer: Any) -> None:
    prompt = PromptEncoder(tokenizer, 512).prompt("The <mask> is <mask> <mask>.")
    assert list(prompt.tokens) == ids(tokenizer, "The <mask> is <mask> <mask>.")
    assert [prompt.tokens[place] for place in prompt.places] == [tokenizer.mask_token_id] * 3


@pytest.mark.parametrize("context", ["The claim is <mask>", "The claim is ", "The claim (<mask>)", "("])
def test_the_blank_before_a_mask_belongs_to_the_answer(context: str) -> None:
    """Only byte-level tokens keep blanks; lm-eval hands over an answer without one where target_delimiter is ""."""
    tokenizer = masked_tokenizer("byte_bpe")
    prompt, wanted = PromptEncoder(tokenizer, 512).answered(context, "true")
    filled = [*prompt.tokens[: prompt.places[0]], *wanted, *prompt.tokens[prompt.places[-1] + 1 :]]
    text = context if "<mask>" in context else context + "<mask>"
    assert filled == ids(tokenizer, text.replace("<mask>", "true"))


def test_the_blank_is_in_the_mask_whether_the_tokenizer_takes_it_or_not() -> None:
    """Transformers 5 makes a RobertaTokenizer from vocabulary and merges alone whose mask leaves it."""
    published = masked_tokenizer("byte_bpe")
    model = json.loads(published.backend_tokenizer.to_str())["model"]
    # transformers says that it takes strings, and takes pairs.
    merges: list[Any] = [tuple(merge) for merge in model["merges"]]
    rebuilt = RobertaTokenizer(vocab=model["vocab"], merges=merges)
    for context, answer in ((f"{CLAIM} <mask>.", " true"), (f"{CLAIM} <mask> <mask>", " false"), (CLAIM, " true")):
        expected, _ = PromptEncoder(published, 512).answered(context, answer)
        found, _ = PromptEncoder(rebuilt, 512).answered(context, answer)
        assert [rebuilt.decode([token]) for token in found.tokens] == [
            published.decode([token]) for token in expected.tokens
        ]


def test_a_long_prompt_is_cut_on_the_left(tokenizer: Any) -> None:
    text = f"{LONG}{CLAIM} <mask>."
    prompt, wanted = PromptEncoder(tokenizer, 32).answered(text, " true")
    whole = ids(tokenizer, text.replace("<mask>", "<mask>" * len(wanted)))
    assert list(prompt.tokens) == [whole[0], *whole[-31:]]
    assert [prompt.tokens[place] for place in prompt.places] == [tokenizer.mask_token_id] * len(wanted)


def test_masks_far_to_the_left_stay_and_the_rest_is_cut_on_the_right(tokenizer: Any) -> None:
    text = f"Well, <mask> <mask>: {LONG}"
    prompt = PromptEncoder(tokenizer, 32).prompt(text)
    whole = ids(tokenizer, text)
    first = whole.index(tokenizer.mask_token_id)
    assert list(prompt.tokens) == [whole[0], *whole[first : first + 30], whole[-1]]
    assert prompt.places == (1, 2)


def test_masks_too_far_apart_are_refused(tokenizer: Any) -> None:
    with pytest.raises(EditError, match=r"the masks of a prompt span \d+ tokens, and the model takes 30"):
        PromptEncoder(tokenizer, 32).prompt(f"<mask> {LONG} <mask>")


def test_an_answer_longer_than_the_model_is_refused(tokenizer: Any) -> None:
    with pytest.raises(EditError, match="the model takes 30 besides its special tokens"):
        PromptEncoder(tokenizer, 32).answered("Say: <mask>", f" {LONG}")


@pytest.mark.parametrize("answer", ["", " "])
def test_an_answer_without_tokens_is_refused(answer: str) -> None:
    with pytest.raises(EditError, match=r"the answer .* to 'Say:' has no tokens"):
        PromptEncoder(masked_tokenizer("wordpiece"), 32).answered("Say:", answer)


def test_a_prompt_without_a_mask_has_nothing_to_generate_at(tokenizer: Any) -> None:
    with pytest.raises(EditError, match=r"this one has none: 'The capital of Peru is'; use a task whose prompts hold"):
        PromptEncoder(tokenizer, 512).prompt("The capital of Peru is")


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(EditError, match="has no mask token"):
        PromptEncoder(tokenizer, 512)


def test_a_length_without_room_for_a_mask_is_refused(tokenizer: Any) -> None:
    with pytest.raises(EditError, match="max_length: expected more than 2, got 2"):
        PromptEncoder(tokenizer, 2)
