"""Tables for people: plain columns, with nothing wrapped or cut."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from cti_edits.report.listing import interval_text, print_columns, print_listing, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (12_345_678_901, "12.3 GB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_the_unit_goes_no_further_than_terabytes() -> None:
    assert size_text(10**16) == "1e+04 TB"


def test_an_interval_in_per_cent() -> None:
    assert interval_text(0.0456, 1.0) == "4.6 to 100.0 %"


ROWS = [("a", "1.5"), ("longer", "22")]


@pytest.mark.parametrize("printed", [print_listing, print_columns])
def test_columns_are_as_wide_as_their_longest_cell(
    printed: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "5")
    printed(("name", "n"), ROWS, right=("n",))
    assert capsys.readouterr().out.splitlines() == ["name      n", "a       1.5", "longer   22"]


def test_a_letter_of_two_columns_moves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(("a", "b"), [("漢字", "x"), ("abcd", "y")])
    assert capsys.readouterr().out.splitlines() == ["a     b", "漢字  x", "abcd  y"]


def test_text_of_strangers_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing(("[bold]a",), [("\x1b[31m[red]b[/]\n",)])
    assert capsys.readouterr().out.splitlines() == ["[bold]a", "\\x1b[31m[red]b[/]\\n"]


def test_headings_stand_alone_where_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


@pytest.mark.parametrize("width", [30, 200])
def test_a_terminal_folds_long_cells_and_never_short_ones(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    print_listing(("short", "long"), [("1234567890", "[x]" + "abcdefgh" * 5)])
    text = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert sum("1234567890" in line for line in lines) == 1
    # Folded, and nothing of it is lost.
    assert "".join(text.split()).endswith("[x]" + "abcdefgh" * 5)
    assert sum("abc" in line for line in lines) == (1 if width == 200 else 2)
