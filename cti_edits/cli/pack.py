"""``cti-edits pack`` and ``cti-edits unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.errors import printable
from cti_edits.manifest import MAX_SHOWN_PATH

File = Annotated[Path, typer.Argument(metavar="FILE", help="An edit manifest.", show_default=False)]


def pack(
    file: File,
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder or hub id.", show_default="the edit's base model"),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of the model on the hub.", show_default=False)] = None,
) -> None:
    """Write the factors of the edit beside FILE, so that applying it needs no decomposition."""
    from cti_edits.packing import pack as packed

    edit = packed(file, model, revision)
    factors = edit.edits[0].factors
    assert factors is not None
    print(f"{printable(file.parent / factors.file, MAX_SHOWN_PATH)}: {factors.size:,} bytes")
    print(f"{printable(file, MAX_SHOWN_PATH)}: {file.stat().st_size:,} bytes, digest {edit.digest()}")


def unpack(file: File) -> None:
    """Drop the factors of the edit and leave the recipe, which needs the base and a decomposition."""
    from cti_edits.manifest import load
    from cti_edits.packing import unpack as unpacked

    for deleted in unpacked(file):
        print(f"{printable(deleted, MAX_SHOWN_PATH)}: deleted")
    print(f"{printable(file, MAX_SHOWN_PATH)}: {file.stat().st_size:,} bytes, digest {load(file).digest()}")
