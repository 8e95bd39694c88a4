from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 漢 ρ", "plain é 漢 ρ"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x9b", "\\x1b[31mred\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066\u2028\ufeff", "\\u2066\\u2028\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(), max_size=60), st.integers(1, 60))
def test_the_result_is_printable_and_within_its_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    whole = printable(text, 10_000)
    assert shown == whole if len(whole) <= limit else shown == whole[: limit - 1] + "…"


def test_a_cut_is_marked() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable("abcd", 4) == "abcd"
    assert printable(12) == "12"


PROGRAM = """
import sys
from cti_edits.errors import FitError, one_line_in_command
{before}
try:
    with one_line_in_command():
        raise {error}
except BaseException as error:
    print(type(error).__name__, getattr(error, "code", None))
"""


def run(before: str, error: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before, error=error)], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_inside_the_lm_eval_command_an_edit_error_is_one_line_and_exit_code_2() -> None:
    assert run("cli_evaluate = None", "FitError('layer: wrong')") == (
        "SystemExit 2\n",
        "cti-edits: error: layer: wrong\n",
    )


def test_the_line_is_shown_where_the_encoding_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert run("cli_evaluate = None", "FitError('\u03c1 \u2265 1')")[1] == "cti-edits: error: rho >= 1\n"


def test_a_program_that_calls_lm_eval_gets_the_error_itself() -> None:
    assert run("", "FitError('layer: wrong')") == ("FitError None\n", "")


def test_another_error_passes_through_the_command() -> None:
    assert run("cli_evaluate = None", "KeyError('x')") == ("KeyError None\n", "")
