"""Where files are that travel with the package (tasks/, schemas/, edits/), and those that are kept for later."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from cti_edits.errors import EditError


def folder(name: str) -> Path:
    """The folder ``name`` ("tasks", "schemas" or "edits").

    A wheel carries it inside the package; in a checkout, where an editable install runs, it lies beside the package.

    Raises:
        EditError: the installation does not have it.
    """
    package = Path(str(importlib.resources.files("cti_edits")))
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise EditError(f"the installation of cti-edits has no folder {name!r}: reinstall it with pip")


def __getattr__(name: str) -> str:
    """``TASKS``, the folder with our lm-eval tasks, found when it is asked for: what the entry point names."""
    if name != "TASKS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return str(folder("tasks"))


def check_task_folder(path: str) -> None:
    """Refuse what is no folder, where a plugin's folder of tasks was expected.

    Raises:
        EditError: there is no such folder.
    """
    if not Path(path).is_dir():
        raise EditError(f"{path}: expected a folder of task files")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/cti-edits``, by default under ``~/.cache``; it may not be there yet."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "cti-edits"
