"""Standard output and error where an encoding has few characters, a device is full, or the reader has gone."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TextIO

STAND_IN = "cti_edits.stand_in"
"""Name of the error handler among Python's codecs."""
WORDS = {
    "ρ": "rho",
    "σ": "sigma",
    "Σ": "Sigma",
    "δ": "delta",
    "Δ": "Delta",
    "ε": "epsilon",
    "λ": "lambda",
    "μ": "mu",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "≈": "~",
    "±": "+-",
    "×": "x",
    "·": "*",
    "√": "sqrt",
    "²": "^2",
    "→": "->",
    "←": "<-",
    # One column each: lm-eval has them in tables.
    "↑": "^",
    "↓": "v",
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "…": "...",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "•": "*",
    "\u00a0": " ",
    "─": "-",
    "━": "-",
    "│": "|",
    "┃": "|",
}
"""ASCII for characters that we and lm-eval print."""


def accept_any_text() -> None:
    """Let standard output and error take any text: what their encoding lacks as ASCII, else as a backslash escape.

    An error handler that the user has chosen, ``PYTHONIOENCODING=ascii:replace``, is left in place. One that is closed
    (``>&-``) takes everything and keeps nothing.
    """
    codecs.register_error(STAND_IN, _stand_in)
    # Python leaves None there, which not everyone expects who asks whether it is a terminal.
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape", "backslashreplace"):
            stream.reconfigure(errors=STAND_IN)


def as_written(text: str, stream: TextIO) -> str:
    """``text`` as ``stream`` will show it. For the widths of columns: a stand-in may be wider than the character."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, stream.errors or "strict").decode(encoding)
    except (UnicodeError, LookupError):
        return text


def print_path(path: Path) -> None:
    """Print a path for a shell's ``"$(…)"``: as the file system has it, since a stand-in would name another file."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        str(path).encode(encoding)
    except UnicodeEncodeError:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.flush()
            sys.stdout.buffer.write(os.fsencode(path) + b"\n")
            return
    print(path)


def drop(stream: TextIO) -> None:
    """Send what ``stream`` still holds nowhere, so that Python does not try to write it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _nowhere() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ascii(error.object, index) for index in range(error.start, error.end)), error.end


def _ascii(text: str, index: int) -> str:
    """The character of ``text`` at ``index`` in ASCII. A Greek letter in a Greek word is no sign of ours."""
    character = text[index]
    beside = text[max(index - 1, 0) : index] + text[index + 1 : index + 2]
    in_a_word = character.isalpha() and any(one.isalpha() and not one.isascii() for one in beside)
    escaped = character.encode("ascii", "backslashreplace").decode()
    return escaped if in_a_word else WORDS.get(character, escaped)
