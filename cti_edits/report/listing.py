"""Tables for people: drawn on a terminal that is wide enough, else each row in lines of its own, or plain columns."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Sequence

from cti_edits.errors import printable
from cti_edits.terminal import as_written


def print_listing(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Print ``rows`` under ``headings``: a table on a terminal, plain columns elsewhere.

    On a terminal that is too narrow, each row is its first cell and, under it, its other cells with their headings.
    Control characters and markup in a cell are shown, never obeyed.

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
    from rich.markup import escape
    from rich.measure import Measurement
    from rich.table import Table

    cells = _cells(rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", no_wrap=True)
    for row in cells:
        table.add_row(*map(escape, row))
    if Measurement.get(console, console.options.update(max_width=sys.maxsize), table).maximum <= console.width:
        console.print(table)
        return
    for first, *others in cells:
        # No line ends between a heading and its cell. (A cell has no such blank: `printable` escapes it.)
        named = ", ".join(f"{heading}\xa0{cell}" for heading, cell in zip(headings[1:], others, strict=True) if cell)
        lines = textwrap.wrap(named, console.width, initial_indent="  ", subsequent_indent="  ")
        print(as_written("\n".join([first, *lines]).replace("\xa0", " "), sys.stdout))


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
