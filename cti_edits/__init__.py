"""Adapt a language model to a task without training: find, share and apply rank edits."""

from __future__ import annotations

from cti_edits.version import __version__ as __version__

# The command answers --help at once, so that this imports nothing by itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cti_edits.artifact.manifest import BaseModel, Edit, MatrixEdit, load, parse
    from cti_edits.errors import BaseMismatchError, EditError, FitError, ManifestError
    from cti_edits.models.apply import applied


_HOMES = {
    "applied": "models.apply",
    "BaseMismatchError": "errors",
    "EditError": "errors",
    "FitError": "errors",
    "ManifestError": "errors",
    "BaseModel": "artifact.manifest",
    "Edit": "artifact.manifest",
    "MatrixEdit": "artifact.manifest",
    "load": "artifact.manifest",
    "parse": "artifact.manifest",
}

__all__ = [
    "BaseMismatchError",
    "BaseModel",
    "Edit",
    "EditError",
    "FitError",
    "ManifestError",
    "MatrixEdit",
    "applied",
    "load",
    "parse",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
