"""``cti-edits pack`` and ``cti-edits unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.artifact.manifest import Edit
from cti_edits.cli import completion
from cti_edits.errors import MAX_SHOWN_PATH, printable

File = Annotated[
    str,
    completion.edit_argument("FILE", "An edit of yours: file or folder."),
]


def pack(
    file: File,
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder or hub id.", show_default="the edit's base model"),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of the model on the hub.", show_default=False)] = None,
) -> None:
    """Write the factors of the edit beside FILE, so that applying it needs no decomposition."""
    from cti_edits.hub.references import own_manifest
    from cti_edits.models.packing import pack as packed

    manifest = own_manifest(file)
    edit = packed(manifest, model, revision)
    for factors in dict.fromkeys(one.factors for one in edit.edits if one.factors):
        print(f"{printable(manifest.parent / factors.file, MAX_SHOWN_PATH)}: {factors.size:,} bytes")
    print_manifest(manifest, edit)


def unpack(file: File) -> None:
    """Drop the factors of the edit and leave the recipe, which needs the base and a decomposition."""
    from cti_edits.artifact.manifest import load
    from cti_edits.hub.references import own_manifest
    from cti_edits.models.packing import unpack as unpacked

    manifest = own_manifest(file)
    for deleted in unpacked(manifest):
        print(f"{printable(deleted, MAX_SHOWN_PATH)}: deleted")
    print_manifest(manifest, load(manifest))


def print_manifest(manifest: Path, edit: Edit) -> None:
    """What was written: its size, and the digest that it has now."""
    print(f"{printable(manifest, MAX_SHOWN_PATH)}: {manifest.stat().st_size:,} bytes, digest {edit.digest()}")
