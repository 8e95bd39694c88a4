"""Names of flags: as typer takes them, as lm-eval takes them, and in an error that names a field."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

VALUE_OPTIONAL = ("--apply-chat-template", "--fewshot-as-multiturn")
"""Flags that stand alone or with a value, as lm-eval's do; typer knows no such."""


def typer_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments of ``cti-edits search`` as typer takes them: dashes in flags' names, and values for all flags.

    >>> typer_arguments(["search", "--num_fewshot", "2", "--apply_chat_template"])
    ['search', '--num-fewshot', '2', '--apply-chat-template', 'true']
    """
    found: list[str] = []
    for argument, following in itertools.pairwise([*arguments, "--"]):
        flag, sign, value = argument.partition("=")
        if flag.startswith("--"):
            argument = flag.replace("_", "-") + sign + value
        found.append(argument)
        if argument in VALUE_OPTIONAL and following.startswith("--"):
            found.append("true")
    return found


def lm_eval_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments of ``cti-edits eval`` as lm-eval takes them: underscores in flags' names.

    >>> lm_eval_arguments(["--num-fewshot=2", "--tasks", "a-b"])
    ['--num_fewshot=2', '--tasks', 'a-b']
    """
    parts = (argument.partition("=") for argument in arguments)
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
