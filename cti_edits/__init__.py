"""Adapt a language model to a task without training: find, share and apply rank edits."""

from __future__ import annotations

from cti_edits.version import __version__ as __version__

# The command answers --help at once, so that this imports nothing by itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cti_edits.api import compare, compose, export, verify
    from cti_edits.artifact.manifest import BaseModel, Edit, load, parse
    from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit, PluginEdit
    from cti_edits.artifact.records import Measurement, Results
    from cti_edits.errors import (
        BaseMismatchError,
        CheckpointError,
        EditError,
        FactorsError,
        FitError,
        ManifestError,
        WriteError,
    )
    from cti_edits.models.apply import AppliedEdit, applied, apply
    from cti_edits.search.api import search
    from cti_edits.search.runner import SearchResult


_HOMES = {
    "AppliedEdit": "models.apply",
    "applied": "models.apply",
    "apply": "models.apply",
    "BaseMismatchError": "errors",
    "CheckpointError": "errors",
    "EditError": "errors",
    "FactorsError": "errors",
    "FitError": "errors",
    "ManifestError": "errors",
    "WriteError": "errors",
    "BaseModel": "artifact.manifest",
    "Edit": "artifact.manifest",
    "BlockSvdEdit": "artifact.matrix_edits",
    "DirectionsEdit": "artifact.matrix_edits",
    "MatrixEdit": "artifact.matrix_edits",
    "PluginEdit": "artifact.matrix_edits",
    "load": "artifact.manifest",
    "parse": "artifact.manifest",
    "Measurement": "artifact.records",
    "Results": "artifact.records",
    "compare": "api",
    "compose": "api",
    "export": "api",
    "verify": "api",
    "SearchResult": "search.runner",
}

__all__ = [
    "AppliedEdit",
    "BaseMismatchError",
    "BaseModel",
    "BlockSvdEdit",
    "CheckpointError",
    "DirectionsEdit",
    "Edit",
    "EditError",
    "FactorsError",
    "FitError",
    "ManifestError",
    "MatrixEdit",
    "Measurement",
    "PluginEdit",
    "Results",
    "SearchResult",
    "WriteError",
    "applied",
    "apply",
    "compare",
    "compose",
    "export",
    "load",
    "parse",
    "search",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used."""
    from importlib import import_module

    if name == "search":
        # The room of that name, which is called as the function in it: importing any of it binds the name to the room.
        return import_module(f"{__name__}.search")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
