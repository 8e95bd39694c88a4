"""What a shell completes: names of tasks, presets, scorers and their like, and edit files. Nothing heavy is imported.

``cti-edits --install-completion`` sets a shell up for it; it is typer's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from cti_edits.paths import folder

PREFIX = "cti_"
"""Of our tasks' names; ``fever`` is short for ``cti_fever``."""


def edit_argument(metavar: str, text: str = "An edit: file, folder or owner/name.") -> Any:
    """Typer's argument for the name of an edit, which a shell completes; ``text`` is its help."""
    return typer.Argument(metavar=metavar, help=text, show_default=False, autocompletion=edits)


def tasks(incomplete: str) -> list[str]:
    """Our tasks that begin so, with or without their prefix."""
    names = sorted(path.stem for path in folder("tasks").glob("*/*.yaml"))
    short = [name.removeprefix(PREFIX) for name in names]
    return [name for name in (*short, *names) if name.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Presets that begin so, those of plugins too."""
    from cti_edits.search.presets import every_preset

    return [preset.name for preset in every_preset() if preset.name.startswith(incomplete)]


def edits(incomplete: str) -> list[str]:
    """Edit files and folders that begin so."""
    given = Path(incomplete)
    parent = given if incomplete.endswith("/") else given.parent
    beginning = "" if incomplete.endswith("/") else given.name
    return [
        f"{path}/" if path.is_dir() else str(path)
        for path in sorted(parent.glob("*"))
        if path.name.startswith(beginning) and (path.is_dir() or path.suffix == ".json")
    ]
