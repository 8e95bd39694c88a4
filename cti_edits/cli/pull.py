"""``cti-edits pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.errors import EditError, printable


def pull(
    reference: Annotated[
        str, typer.Argument(metavar="OWNER/NAME[/FILE][@REVISION]", help="On the hub.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Name of the manifest here.", show_default="NAME.json")
    ] = None,
) -> None:
    """Copy an edit from the Hugging Face hub: its manifest, and its files of factors beside that."""
    from cti_edits.hub.references import hub_reference
    from cti_edits.hub.repositories import pull

    found = hub_reference(reference)
    if found is None:
        raise EditError(f"{printable(reference)}: expected owner/name, owner/name/file.json or either with @revision")
    edit, target = pull(found, output)
    print(f"{printable(target, 4096)}: {edit.name}, digest {edit.digest()}")
