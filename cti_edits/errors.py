"""The errors that users see. Each message is one line: what was expected, what came, where, and what to do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from cti_edits.terminal import accept_any_text


class EditError(Exception):
    """Something a person can mend: a file, an argument, a model that does not fit. Base of all errors raised here."""


class ManifestError(EditError):
    """An edit manifest is not valid. The message names the file and the field."""


class WriteError(EditError):
    """A file or folder cannot be written. Nothing half-written is left."""


class MachineError(EditError):
    """The machine gave out: its memory does not hold the least that is needed, or a device is lost."""


class FitError(EditError):
    """An edit does not fit the model it was to be applied to: a module, layer or shape differs."""


class BaseMismatchError(FitError):
    """The model's weights are not those that the edit was made for (their hash differs)."""


class CheckpointError(EditError):
    """A checkpoint's tensors cannot be read: no safetensors files, a damaged one, or no such model."""


class FactorsError(EditError):
    """A file of factors is missing, is not the one that the manifest names, or does not fit the edit."""


MAX_SHOWN_PATH = 4096
"""Characters of a file's path in a message."""


def printable(text: object, limit: int = 200) -> str:
    """``text`` on one line with control characters escaped, cut to ``limit`` characters.

    Text from a file must pass through here before it reaches a terminal.
    """
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in str(text)[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Inside, an `EditError` says what it is about, and stays of its kind."""
    try:
        yield
    except EditError as error:
        raise type(error)(f"{what}: {error}") from None


@contextlib.contextmanager
def one_line_in_command() -> Iterator[None]:
    """Inside the ``lm_eval`` command, turn an `EditError` into one line on stderr and exit code 2.

    lm-eval lets exceptions reach the interpreter, which prints a traceback. A program that calls lm-eval as a
    library still gets the `EditError`. The command's output does not fail on a character either: lm-eval ends with a
    table that has arrows and plus-minus signs, after hours perhaps.
    """
    command = hasattr(sys.modules.get("__main__"), "cli_evaluate")
    if command:
        accept_any_text()
    try:
        yield
    except EditError as error:
        if not command:
            raise
        print(f"cti-edits: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
