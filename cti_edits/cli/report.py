"""``cti-edits report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.errors import printable


def report(
    edit: Annotated[str, completion.edit_argument("EDIT_OR_LOG")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where the page goes.", show_default="EDIT's name with .html"),
    ] = None,
) -> None:
    """Write a page about an edit: verdict, what was asked, what it changes, figures. One HTML file for every browser.

    A search writes such a page beside its edit, with what it alone knows: scores, candidates, rows that changed. Of its
    log, NAME.search.jsonl, this makes the same page.
    """
    from cti_edits.cli.default_output import page_beside
    from cti_edits.cli.search_command import commands
    from cti_edits.files import write_atomically
    from cti_edits.hub.references import load_edit
    from cti_edits.report.edit_report import edit_report
    from cti_edits.search.finished_search import read_finished
    from cti_edits.search.search_log import SUFFIX

    if edit.endswith(SUFFIX):
        search = read_finished(Path(edit))
        found, details, manifest = search.edit, search.details, Path(edit.removesuffix(SUFFIX) + ".json")
        page = edit_report(found, details, commands(found, str(manifest)))
    else:
        found = load_edit(edit)
        manifest = Path(found.path.name if found.path else f"{found.name}.json")
        page = edit_report(found, None, commands(found, edit))
    target = output or page_beside(Path(manifest.name))
    write_atomically(target, page.encode())
    print(f"wrote {printable(target)}")
