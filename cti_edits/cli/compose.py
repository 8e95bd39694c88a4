"""``cti-edits compose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.errors import printable


def compose(
    files: Annotated[
        list[str],
        completion.edit_argument("A B...", "Edit manifests."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the edit goes.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Its name.", show_default="made of theirs")] = None,
) -> None:
    """Write one edit that does what several do. They must be of one base and of different matrices."""
    from cti_edits.artifact.compose import compose_files
    from cti_edits.hub.references import manifest_path

    composed = compose_files([manifest_path(file) for file in files], output, name)
    matrices = len(composed.edits)
    print(f"{printable(output)}: {composed.name}, {matrices} {'matrix' if matrices == 1 else 'matrices'}", end=", ")
    print(f"digest {composed.digest()}")
