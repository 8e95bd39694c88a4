from __future__ import annotations

import pytest

from cti_edits.cli import options
from cti_edits.errors import EditError


def test_numbers_and_names_are_joined_by_commas() -> None:
    assert options.numbers("clusters", "1, 2,16,", int) == (1, 2, 16)
    assert options.numbers("rates", "0.5,1e-2", float) == (0.5, 0.01)
    assert options.names(" U_in,U_out ,") == ("U_in", "U_out")
    with pytest.raises(EditError, match=r"^clusters: expected whole numbers joined by commas, got '1,2\.5'$"):
        options.numbers("clusters", "1,2.5", int)


def test_a_chat_template_is_off_on_or_one_of_several() -> None:
    assert [options.chat_template(text) for text in (None, "False", "TRUE", "rag")] == [False, False, True, "rag"]


@pytest.mark.parametrize(("text", "value"), [("auto", None), ("16", 16)])
def test_a_batch_size_is_a_number_or_auto(text: str, value: int | None) -> None:
    assert options.batch_size(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "Auto", ""])
def test_other_batch_sizes_are_refused(text: str) -> None:
    with pytest.raises(EditError, match=r"^batch_size: expected 1 or more, or auto, got"):
        options.batch_size(text)


def test_arguments_are_pairs_or_json() -> None:
    expected = {"revision": "main", "trust_remote_code": True, "max_length": 7}
    assert options.arguments("model_args", "revision=main,trust_remote_code=True,max_length=7") == expected
    as_json = ' {"revision": "main", "trust_remote_code": true, "max_length": 7}'
    assert options.arguments("model_args", as_json) == expected
    assert options.arguments("model_args", "") == {}
    with pytest.raises(EditError, match=r"^model_args: expected a JSON object, got text that is none"):
        options.arguments("model_args", "{revision")


def test_a_kind_and_a_boolean_are_one_of_two_words() -> None:
    assert [options.model_kind(text) for text in ("causal", "masked")] == ["causal", "masked"]
    assert [options.boolean("fewshot_as_multiturn", text) for text in ("True", "false")] == [True, False]
    with pytest.raises(EditError, match=r"^kind: expected one of causal, masked, seq2seq, got 'Causal'"):
        options.model_kind("Causal")
    with pytest.raises(EditError, match=r"^fewshot_as_multiturn: expected true or false, got 'yes'"):
        options.boolean("fewshot_as_multiturn", "yes")


def test_how_examples_become_prompts() -> None:
    found = options.prompting(2, "true", "False", "Be brief.", "max_gen_toks=5")
    assert (found.num_fewshot, found.apply_chat_template, found.fewshot_as_multiturn) == (2, True, False)
    assert (found.system_instruction, found.gen_kwargs) == ("Be brief.", {"max_gen_toks": 5})
    assert options.prompting(None, None, None, None, "").as_multiturn is False
    with pytest.raises(EditError, match=r"^fewshot_as_multiturn: only together with apply_chat_template$"):
        options.prompting(2, None, "true", None, "")
