"""``cti-edits cache``."""

from __future__ import annotations

import datetime

import typer

from cti_edits.cli.examples import epilog
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.json_records import CachedDecomposition
from cti_edits.errors import printable
from cti_edits.linalg.spectrum_files import clear, default_folder, default_limit, entries
from cti_edits.report.listing import print_columns, size_text

HEADINGS = ("tensor", "K", "kind", "precision", "size", "last use")

cache = typer.Typer(help="Decompositions that searches keep on disk.", no_args_is_help=True, rich_markup_mode=None)


@cache.command("ls", epilog=epilog("cache ls"))
def list_entries(as_json: AsJson = False) -> None:
    """List the decompositions on disk, the one used last at the end, and what they take of the limit."""
    folder, limit = default_folder(), default_limit()
    found = entries(folder)
    if as_json:
        for entry in found:
            print_json(CachedDecomposition.of(entry))
        return
    if found:
        rows = [
            (
                entry.key.sha256[:12],
                str(entry.key.clusters),
                entry.key.kind,
                entry.key.precision,
                size_text(entry.size),
                datetime.datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M"),
            )
            for entry in found
        ]
        print_columns(HEADINGS, rows, right=("K", "size"))
    print(f"{_amount([entry.size for entry in found])} of {size_text(limit)} in {printable(folder, 4096)}")


@cache.command("clear", epilog=epilog("cache clear"))
def clear_entries() -> None:
    """Delete the decompositions on disk, and nothing else that is in their folder."""
    folder = default_folder()
    removed = clear(folder)
    print(f"removed {_amount([entry.size for entry in removed])} from {printable(folder, 4096)}")


def _amount(sizes: list[int]) -> str:
    return f"{len(sizes)} {'entry' if len(sizes) == 1 else 'entries'}, {size_text(sum(sizes))}"
