"""Tables for people: drawn on a terminal, or plain columns everywhere, with nothing wrapped or cut."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from cti_edits.errors import printable
from cti_edits.terminal import as_written

SHORT = 14
"""Cells of at most this width stay on one line; a terminal that is too narrow folds the others."""


def print_listing(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Print ``rows`` under ``headings``. Control characters and markup in a cell are shown, never obeyed.

    Args:
        headings: one a column.
        rows: cells, as many a row as there are headings.
        right: headings of the columns that are aligned on the right.
    """
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        print_columns(headings, rows, right)
        return
    from rich import box
    from rich.cells import cell_len
    from rich.markup import escape
    from rich.table import Table

    cells = _cells(rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column, heading in enumerate(headings):
        short = max((cell_len(row[column]) for row in cells), default=0) <= SHORT
        table.add_column(heading, justify="right" if heading in right else "left", no_wrap=short, overflow="fold")
    for row in cells:
        table.add_row(*map(escape, row))
    console.print(table)


def print_columns(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Print ``rows`` in plain columns on a terminal too: one that is too narrow wraps lines, but no figure is cut.

    Arguments as `print_listing` has them.
    """
    from rich.cells import cell_len

    lines = [[as_written(cell, sys.stdout) for cell in line] for line in (headings, *_cells(rows))]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        parts = []
        for heading, cell, width in zip(headings, line, widths, strict=True):
            blanks = " " * (width - cell_len(cell))
            parts.append(blanks + cell if heading in right else cell + blanks)
        print("  ".join(parts).rstrip())


def interval_text(low: float, high: float) -> str:
    """An interval of shares, in per cent."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def size_text(size: int) -> str:
    """A number of bytes in decimal units, three digits."""
    if size < 1000:
        return f"{size} B"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        # 999.5 would be written as 1000 of the smaller unit.
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"


def _cells(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[printable(cell, 2000) for cell in row] for row in rows]
