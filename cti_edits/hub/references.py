"""What a person writes for an edit: a file, a folder, or ``owner/name[/file.json][@revision]`` on the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cti_edits.artifact.manifest import Edit, load
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable

MANIFEST = "edit.json"
"""The manifest's name in a folder or repository that may hold other JSON files."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_ON_THE_HUB = re.compile(rf"({_NAME}/{_NAME})(?:/({_NAME}\.json))?(?:@([^@\s\x00-\x1f]+))?")


@dataclass(frozen=True)
class HubReference:
    """An edit on the hub.

    Attributes:
        repository: ``owner/name``.
        file: the manifest's name in the repository; None: edit.json, or its only JSON file.
        revision: branch, tag or commit; None: the main branch.
    """

    repository: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository + (f"/{self.file}" if self.file else "") + (f"@{self.revision}" if self.revision else "")


def is_hub_id(text: str) -> bool:
    """Whether ``text`` is ``owner/name``, or the bare name of one of the hub's oldest models, "gpt2"."""
    return re.fullmatch(rf"(?:{_NAME}/)?{_NAME}", text) is not None


def hub_reference(text: str) -> HubReference | None:
    """The edit on the hub that ``text`` names, or None where ``text`` is a path.

    It is a path if a file or folder of that name exists, or, without a revision, if it is ``folder/name.json`` or a
    file in a folder that exists.
    """
    match = _ON_THE_HUB.fullmatch(text)
    if match is None or os.path.lexists(text):
        return None
    repository, file, revision = match.groups()
    if revision is None and (repository.endswith(".json") if file is None else Path(text).parent.is_dir()):
        return None
    return HubReference(repository, file, revision)


def manifest_path(text: str | os.PathLike[str]) -> Path:
    """The path of the manifest that ``text`` names, fetched if it is on the hub. The file may be missing or invalid.

    Raises:
        EditError: a folder holds no manifest or several, or the hub cannot give it.
    """
    if isinstance(text, str) and (found := hub_reference(text)) is not None:
        from cti_edits.hub.repositories import fetch

        return fetch(found)
    path = Path(text)
    try:
        if path.is_dir():
            names = [one.name for one in path.glob("*.json")]
            return path / only_manifest(names, printable(path, MAX_SHOWN_PATH))
    except (OSError, ValueError):  # a name that cannot be; `load` says so
        pass
    return path


def own_manifest(text: str | os.PathLike[str]) -> Path:
    """The path of the manifest that ``text`` names, in a folder where something can be written beside it.

    Raises:
        EditError: a folder holds no manifest or several, or ``text`` names an edit on the hub.
    """
    if isinstance(text, str) and (found := hub_reference(text)) is not None:
        raise EditError(
            f"{found} is on the hub, and this writes beside the manifest; get it first: cti-edits pull {found}"
        )
    return manifest_path(text)


def load_edit(text: str | os.PathLike[str]) -> Edit:
    """The edit that ``text`` names: a file, a folder, or a reference to the hub.

    Raises:
        ManifestError: the manifest cannot be read or is not valid.
        EditError: see `manifest_path`.
    """
    return load(manifest_path(text))


def only_manifest(names: Sequence[str], where: str) -> str:
    """Which of the JSON files ``names`` is the manifest: edit.json, or else the only one there is.

    Raises:
        EditError: there is none, or several; the message names them.
    """
    if MANIFEST in names:
        return MANIFEST
    if len(names) == 1:
        return names[0]
    if not names:
        raise EditError(f"{where}: expected an edit manifest, a JSON file, found none")
    some = ", ".join(printable(name, 60) for name in sorted(names)[:5]) + (", …" if len(names) > 5 else "")
    raise EditError(f"{where}: expected {MANIFEST} or one JSON file, found {len(names)}: {some}; name the one to read")
