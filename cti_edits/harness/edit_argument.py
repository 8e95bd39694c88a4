"""The argument ``edit``: one edit, or several that are composed in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cti_edits.artifact.compose import Source, compose
from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError, printable
from cti_edits.hub.references import load_edit

EditArgument = str | os.PathLike[str] | Edit | Sequence[str | os.PathLike[str] | Edit]
"""An edit in memory, what names one, names joined by ``+``, or a list of these."""


@dataclass(frozen=True)
class LoadedEdits:
    """The edits that the argument ``edit`` names.

    Attributes:
        edit: the edit, or the composition of several.
        parts: what was composed; of one edit, itself.
        shown: the argument for a message; None for an edit in memory.
    """

    edit: Edit
    parts: tuple[Edit, ...]
    shown: str | None

    def to_json(self) -> dict[str, object]:
        """For the results: name and digest, and those of the parts where there are several."""
        found: dict[str, object] = {"name": self.edit.name, "digest": self.edit.digest()}
        if len(self.parts) > 1:
            found["parts"] = [{"name": part.name, "digest": part.digest()} for part in self.parts]
        return found


def read_edits(argument: EditArgument, name: str = "edit") -> LoadedEdits:
    """The edit that an argument names, fetched and composed if need be.

    Args:
        argument: see `EditArgument`. A file whose own name has a ``+`` goes before names that are joined by it.
        name: of the argument, for messages.

    Raises:
        ManifestError: a manifest is not valid.
        EditError: the hub cannot give one, the argument names none, or the edits do not fit together.
    """
    if isinstance(argument, Edit):
        return LoadedEdits(argument, (argument,), None)
    if isinstance(argument, int) and not isinstance(argument, bool):
        argument = str(argument)  # lm-eval's reading of a folder that is called 2024
    if isinstance(argument, str | os.PathLike):
        named: Sequence[str | os.PathLike[str] | Edit] = split_names(os.fspath(argument))
    elif isinstance(argument, Sequence) and argument:
        named = argument
    else:
        raise EditError(f"{name}: expected the name of an edit or a list of names, got {printable(argument)!r}")
    for one in named:
        if not isinstance(one, str | os.PathLike | Edit):
            raise EditError(f"{name}: expected names of edits, got {printable(one)!r} among them")
    shown = "+".join(one.name if isinstance(one, Edit) else os.fspath(one) for one in named)
    parts = tuple(one if isinstance(one, Edit) else load_edit(os.fspath(one)) for one in named)
    if len(parts) == 1:
        return LoadedEdits(parts[0], parts, shown)
    return LoadedEdits(compose([Source(part.path or Path(part.name), part) for part in parts]), parts, shown)


def names_base(edits: LoadedEdits | None, pretrained: object) -> str | None:
    """The edit that names the base model that is loaded, for a message; None where ``pretrained`` names it."""
    if edits is None or (pretrained is not None and pretrained != ""):
        return None
    return edits.shown or edits.edit.name


def split_names(text: str) -> tuple[str, ...]:
    """Names that are joined by ``+``. A file's name may have a ``+`` itself: the longest that exist are taken."""
    words = text.split("+")
    if "" in words:
        return (text,)
    names, start = [], 0
    while start < len(words):
        end = next(
            (end for end in range(len(words), start + 1, -1) if os.path.lexists("+".join(words[start:end]))), start + 1
        )
        names.append("+".join(words[start:end]))
        start = end
    return tuple(names)
