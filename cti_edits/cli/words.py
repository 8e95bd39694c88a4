"""The words of a command line: flags whose value may be left out, and the flag's name in an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

VALUE_OPTIONAL = ("--apply-chat-template", "--fewshot-as-multiturn")
"""Flags that stand alone or with a value, as lm-eval's do; typer knows no such."""


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words of ``cti-edits search`` as typer takes them: dashes in flags' names, and values for all flags.

    >>> spelled_out(["search", "--num_fewshot", "2", "--apply_chat_template"])
    ['search', '--num-fewshot', '2', '--apply-chat-template', 'true']
    """
    found: list[str] = []
    for index, word in enumerate(words):
        flag, sign, value = word.partition("=")
        if flag.startswith("--"):
            word = flag.replace("_", "-") + sign + value
        found.append(word)
        following = words[index + 1] if index + 1 < len(words) else "--"
        if word in VALUE_OPTIONAL and following.startswith("--"):
            found.append("true")
    return found


def as_lm_eval_spells(words: Sequence[str]) -> list[str]:
    """Words of ``cti-edits eval`` as lm-eval takes them: underscores in flags' names.

    >>> as_lm_eval_spells(["--num-fewshot=2", "--tasks", "a-b"])
    ['--num_fewshot=2', '--tasks', 'a-b']
    """
    parts = (word.partition("=") for word in words)
    return [(flag.replace("-", "_").replace("__", "--", 1) if flag.startswith("--") else flag) + sign + value
            for flag, sign, value in parts]  # fmt: skip


def with_flag(message: str, flags: Mapping[str, str]) -> str:
    """``message`` with a flag's name for the field's that it begins with, maybe after a task's name, or ends with.

    >>> with_flag("cti_fever: top_q: expected 1 or more, got 0", {"top_q": "--top-q"})
    'cti_fever: --top-q: expected 1 or more, got 0'
    >>> with_flag("a.json: is there already; name another file (output)", {"output": "--output"})
    'a.json: is there already; name another file (--output)'
    """
    parts = message.split(": ")
    for index, part in enumerate(parts[:2]):
        if part in flags:
            parts[index] = flags[part]
            break
    return re.sub(r"\(([a-z_]+)\)$", lambda found: f"({flags.get(found[1], found[1])})", ": ".join(parts))
