"""Flags as typer and lm-eval take them, and errors that name them."""

from __future__ import annotations

import doctest

import pytest

from cti_edits.cli import flags
from cti_edits.cli.flags import lm_eval_arguments, typer_arguments, with_flag


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(flags).failed == 0
    assert doctest.testmod(flags).attempted >= 4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--apply_chat_template"], ["--apply-chat-template", "true"]),
        (["--apply-chat-template", "default", "--seed", "1"], ["--apply-chat-template", "default", "--seed", "1"]),
        (["--apply-chat-template=default"], ["--apply-chat-template=default"]),
        (["--fewshot_as_multiturn", "--task", "a_b"], ["--fewshot-as-multiturn", "true", "--task", "a_b"]),
        (["--model_args", "add_bos_token=True"], ["--model-args", "add_bos_token=True"]),
    ],
)
def test_flags_as_lm_eval_has_them(given: list[str], expected: list[str]) -> None:
    assert typer_arguments(given) == expected


def test_flags_of_eval_are_spelled_as_lm_eval_does() -> None:
    given = ["--num-fewshot", "2", "--apply-chat-template", "--system-instruction=Be-brief.", "--tasks", "a--b"]
    expected = ["--num_fewshot", "2", "--apply_chat_template", "--system_instruction=Be-brief.", "--tasks", "a--b"]
    assert lm_eval_arguments(given) == expected


def test_only_a_field_of_the_command_becomes_a_flag() -> None:
    names = {"top_q": "--top-q", "repository": "OWNER/NAME"}
    assert with_flag("repository: expected a hub id", names) == "OWNER/NAME: expected a hub id"
    for message in ("a.json: edits[0].module: top_q: x", "module: the model has no top_q", "x (module)", "top_q"):
        assert with_flag(message, names) == message.replace("top_q", "--top-q") if message == "top_q" else message
