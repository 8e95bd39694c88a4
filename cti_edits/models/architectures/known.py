"""Every architecture file that is known, from this folder and from plugins, by the model types that it covers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from cti_edits.errors import MAX_SHOWN_PATH, EditError, FitError, printable
from cti_edits.models.architectures.data_file import read_family
from cti_edits.models.architectures.family import Family
from cti_edits.plugins import plugins


@cache
def families() -> Mapping[str, Family]:
    """Every known family by ``config.model_type``, from this folder and from plugins.

    A plugin that claims a model type of another family is named on stderr and left out whole.
    """
    known: dict[str, Family] = {}
    for plugin in plugins().loaded:
        try:
            known |= _families_in(plugin.folders["architecture_folders"], known)
        except EditError as error:
            if plugin.provider.is_built_in:
                raise
            plugins().leave_out(plugin.provider, "gives no architecture files that can be used", error)
    return known


def read_folder(folder: str) -> list[tuple[Path, Family]]:
    """The families in a folder of data files, each with its file.

    Raises:
        EditError: there is no such folder, or a file in it is wrong.
    """
    if not Path(folder).is_dir():
        raise EditError(f"{folder}: expected a folder of architecture files")
    return [(path, read_family(path)) for path in sorted(Path(folder).glob("*.json"))]


def _families_in(folders: Iterable[str], known: Mapping[str, Family]) -> dict[str, Family]:
    found: dict[str, Family] = {}
    for folder in folders:
        for path, family in read_folder(folder):
            for model_type in family.model_types:
                if claimed := known.get(model_type) or found.get(model_type):
                    raise EditError(f"{path}: the model type {model_type!r} is claimed by {claimed.name} too")
                found[model_type] = family
    return found


def use_architecture(file: str | Path) -> Family:
    """Cover the model types of an architecture file from now on, in this process.

    A second file for the same types takes the place of the first one.

    Args:
        file: as `cti-edits architectures MODEL --write FILE` writes it.

    Raises:
        EditError: the file cannot be used, or a model type in it is known without it.
    """
    family = read_family(Path(file))
    for model_type in family.model_types:
        if known := families().get(model_type):
            raise EditError(
                f"{printable(file, MAX_SHOWN_PATH)}: model_types: {model_type} is known already, by the architecture "
                f"{known.name}; leave the file out"
            )
    _given.update(dict.fromkeys(family.model_types, family))
    return family


_given: dict[str, Family] = {}
"""By model type, what files say that were given to `use_architecture`."""


def known_family(model_type: str) -> Family | None:
    """The family that covers a model type, from a file that was given, that comes along or that is a plugin's."""
    return _given.get(model_type) or families().get(model_type)


def family_of(model_type: str) -> Family:
    """The family of models whose ``config.model_type`` is ``model_type``.

    Raises:
        FitError: it is unknown; the message names near ones and says how to go on.
    """
    found = known_family(model_type)
    if found is None:
        near = difflib.get_close_matches(model_type, sorted(families()), 3)
        raise FitError(
            f"no architecture file covers the model type {printable(model_type)!r}"
            + (f" (near: {', '.join(near)})" if near else "")
            + "; cti-edits architectures MODEL looks at the model and proposes one, which --architecture FILE "
            "(architecture=FILE in --model_args) then gives"
        )
    return found
