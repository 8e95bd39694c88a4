from __future__ import annotations

from typing import Any

import pytest

from cti_edits.harness.greedy import GreedyGeneration, greedy_generation
from tests.support.small_searches import lm_of
from tests.support.tiny_models import byte_tokenizer


@pytest.fixture(scope="module")
def shared() -> Any:
    return lm_of("gptj")


@pytest.fixture
def lm(shared: Any) -> Any:
    former = shared.model.generation_config.to_dict()
    yield shared
    shared.model.generation_config = type(shared.model.generation_config).from_dict(former)
    shared.think_end_token = None


PLAIN = {"max_gen_toks": 5, "until": ["\n", "stop"]}


def test_a_plain_request(lm: Any) -> None:
    found = greedy_generation(lm, PLAIN)
    assert found is not None
    assert found.room == 5
    assert {"\n", "stop"} < set(found.until)
    assert found.ends == {2}


@pytest.mark.parametrize(
    "more",
    [
        {"do_sample": True, "temperature": 0.7},
        {"temperature": 0.7},
        {"num_beams": 2},
        {"repetition_penalty": 1.3},
        {"top_p": 0.5},
        {"max_gen_toks": 512},
        {"max_gen_toks": 600},
    ],
)
def test_requests_for_more(more: dict[str, Any], lm: Any) -> None:
    assert greedy_generation(lm, {**PLAIN, **more}) is None


@pytest.mark.parametrize("more", [{"do_sample": False}, {"temperature": 0.0}, {"do_sample": False, "temperature": 0.0}])
def test_requests_that_say_greedy(more: dict[str, Any], lm: Any) -> None:
    assert greedy_generation(lm, {**PLAIN, **more}) == greedy_generation(lm, PLAIN)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_beams", 2),
        ("num_return_sequences", 2),
        ("repetition_penalty", 1.1),
        ("no_repeat_ngram_size", 2),
        ("min_length", 3),
        ("min_new_tokens", 3),
        # transformers takes it rather than the length that lm-eval gives.
        ("max_new_tokens", 3),
        ("max_time", 1.0),
        ("stop_strings", ["a"]),
        ("bad_words_ids", [[5]]),
        ("suppress_tokens", [5]),
        ("begin_suppress_tokens", [5]),
        ("forced_bos_token_id", 5),
        ("forced_eos_token_id", 5),
        ("sequence_bias", [[[5], 2.0]]),
        ("guidance_scale", 1.5),
        ("exponential_decay_length_penalty", (2, 1.5)),
        ("penalty_alpha", 0.6),
        ("prompt_lookup_num_tokens", 3),
    ],
)
def test_a_generation_config_that_asks_for_more(key: str, value: Any, lm: Any) -> None:
    setattr(lm.model.generation_config, key, value)
    assert greedy_generation(lm, PLAIN) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("do_sample", True),
        ("temperature", 0.6),
        ("top_k", 20),
        ("top_p", 0.9),
        ("max_length", 7),
        ("num_beams", 1),
        ("repetition_penalty", 1.0),
        ("use_cache", False),
        ("pad_token_id", 9),
        ("bos_token_id", 9),
        ("output_scores", True),
    ],
)
def test_a_generation_config_that_changes_nothing(key: str, value: Any, lm: Any) -> None:
    expected = greedy_generation(lm, PLAIN)
    assert expected is not None
    setattr(lm.model.generation_config, key, value)
    assert greedy_generation(lm, PLAIN) == expected


def test_a_model_that_thinks(lm: Any) -> None:
    lm.think_end_token = "</think>"
    assert greedy_generation(lm, PLAIN) is None


@pytest.mark.parametrize(("ends", "expected"), [(None, set()), (7, {7}), ([7, 9], {7, 9})])
def test_what_ends_a_text(ends: Any, expected: set[int], lm: Any) -> None:
    lm.model.generation_config.eos_token_id = ends
    found = greedy_generation(lm, PLAIN)
    assert found is not None
    assert found.ends == expected


def test_when_a_text_is_finished(lm: Any) -> None:
    generation = GreedyGeneration(4, ("op", ""), frozenset({2}))
    encoded = byte_tokenizer().encode
    for tokens, expected in (
        (encoded("a"), False),
        (encoded("o"), False),
        (encoded("op"), True),
        (encoded("xop"), True),
        (encoded("abcd"), True),
        ([*encoded("a"), 2], True),
        ([2, *encoded("a")], False),
    ):
        assert generation.finished(lm, tokens) is expected, tokens
    assert generation.text(lm, encoded("stop it")) == "st"
    assert generation.text(lm, [*encoded("ab"), 2]) == "ab"
