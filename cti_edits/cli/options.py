"""From the text of an option to its value."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, get_args

from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.harness.prompting import Prompting
    from cti_edits.models.architectures import Kind

Number = TypeVar("Number", int, float)


def numbers(field: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """Numbers that are joined by commas; ``kind`` is int or float.

    Raises:
        EditError: something else is among them.
    """
    try:
        return tuple(map(kind, names(text)))
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise EditError(f"{field}: expected {wanted} joined by commas, got {printable(text)!r}") from None


def names(text: str) -> tuple[str, ...]:
    """Names that are joined by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def boolean(field: str, text: str) -> bool:
    """``true`` or ``false``, in any case.

    Raises:
        EditError: it is neither.
    """
    if text.lower() not in ("true", "false"):
        raise EditError(f"{field}: expected true or false, got {printable(text)!r}")
    return text.lower() == "true"


def batch_size(text: str) -> int | None:
    """A number, or None for ``auto``.

    Raises:
        EditError: it is neither.
    """
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise EditError(f"batch_size: expected 1 or more, or auto, got {printable(text)!r}")
    return int(text)


def chat_template(text: str | None) -> bool | str:
    """Whether to use the chat template, or the name of one of several."""
    if text is None or text.lower() == "false":
        return False
    return True if text.lower() == "true" else text


def prompting(
    num_fewshot: int | None,
    apply_chat_template: str | None,
    fewshot_as_multiturn: str | None,
    system_instruction: str | None,
    gen_kwargs: str,
) -> Prompting:
    """How examples become prompts, from the options of lm-eval's names.

    Raises:
        EditError: a value is out of range, or turns are asked for without a chat template.
    """
    from cti_edits.harness.prompting import Prompting

    return Prompting(
        num_fewshot,
        chat_template(apply_chat_template),
        None if fewshot_as_multiturn is None else boolean("fewshot_as_multiturn", fewshot_as_multiturn),
        system_instruction,
        arguments("gen_kwargs", gen_kwargs),
    )


def arguments(field: str, text: str) -> dict[str, object]:
    """A JSON object, or ``key=value,key=value`` as lm-eval reads it.

    Raises:
        EditError: it begins like JSON, and is none.
    """
    if not text.lstrip().startswith("{"):
        from cti_edits.harness.model_arguments import arguments_of_text

        return arguments_of_text(text)
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise EditError(f"{field}: expected a JSON object, got text that is none ({printable(error)})") from None


def model_kind(text: str) -> Kind:
    """A kind of language model by its name.

    Raises:
        EditError: there is no such kind.
    """
    from cti_edits.models.architectures import Kind

    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        if text == kind:
            return kind
    raise EditError(f"kind: expected one of {', '.join(kinds)}, got {printable(text)!r}")
