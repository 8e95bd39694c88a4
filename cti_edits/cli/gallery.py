"""``cti-edits gallery``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cti_edits.errors import EditError, ManifestError, printable


def gallery(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders with edit manifests.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the page goes.")] = Path("gallery.html"),
) -> None:
    """Write one page of many edits, to sort, filter and compare. Exit code 2 if a file there is not valid."""
    from cti_edits.artifact.manifest import load
    from cti_edits.files import write_atomically
    from cti_edits.report.gallery import gallery as gallery_page

    found, wrong = [], []
    for folder in folders:
        if not folder.is_dir():
            raise EditError(f"{printable(folder)}: expected a folder with edit manifests")
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
            try:
                found.append((path, load(path)))
            except ManifestError as error:
                wrong.append(str(error))
    if not found and not wrong:
        raise EditError(f"{printable(folders[0])}: no edits here")
    write_atomically(output, gallery_page(found, output, wrong).encode())
    print(f"wrote {printable(output)}: {len(found)} edit{'' if len(found) == 1 else 's'}")
    for refusal in wrong:
        print(f"cti-edits: error: {refusal}", file=sys.stderr)
    if wrong:
        raise typer.Exit(2)
