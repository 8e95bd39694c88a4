"""The edit manifest: read, validate, canonical form, digest, write. Knows JSON and nothing of models.

Reading takes any bytes and ends in an `Edit` or a `ManifestError`; nothing in a manifest is ever executed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from cti_edits.artifact import versions
from cti_edits.artifact.json_schema import first_error, shown_value
from cti_edits.artifact.matrix_edits import MEASURED, Factors, MatrixEdit, matrix_edit_of
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.artifact.records import NO_RESULTS, Provenance, Record, Results, SearchRecord, TaskRecord
from cti_edits.artifact.strict_json import NotStrictError, json_type, plain, strict_json
from cti_edits.errors import MAX_SHOWN_PATH, ManifestError, printable
from cti_edits.files import write_atomically

MAX_BYTES = 1 << 20

KEYS = (
    "schema_version",
    "name",
    "description",
    "base_model",
    "edits",
    "task",
    "search",
    "results",
    "provenance",
    "metadata",
)
"""The keys of a manifest of the newest version, in the order in which they are written."""

NOT_IN_DIGEST = ("provenance", "results", "metadata")

DIRECTION_ARRAY = re.compile(r'(?<= )"(?:block|index|scale|sigma)": \[\n[^\]"{]*\]')
"""As `json.dumps` indents them. No text spans lines, so that none is changed."""


@dataclass(frozen=True)
class BaseModel:
    """The model that an edit was made for.

    Attributes:
        id: hub id, or the path of a checkpoint folder.
        revision: hub revision, or None.
        architecture: transformers class name, as in the checkpoint's config.
        dtype: name of the dtype that the weights were loaded in ("float32", …), or None.
    """

    id: str
    revision: str | None
    architecture: str
    dtype: str | None


@dataclass(frozen=True)
class Edit:
    """What a manifest holds: zero or more matrix edits and where they came from. `schemas/` describes each field.

    Two are no fields of the manifest. ``path`` is the file that it was read from, whose folder has the factors; None
    for an edit made in Python. ``factor_paths`` says where factors are that are not in that folder, as those of edits
    that were composed in memory.
    """

    name: str
    description: str
    base_model: BaseModel
    edits: tuple[MatrixEdit, ...]
    task: TaskRecord | None = None
    search: SearchRecord | None = None
    results: Results = NO_RESULTS
    provenance: Provenance = field(default_factory=lambda: Provenance(None, "cti-edits", None, {}))
    metadata: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False, repr=False)
    factor_paths: Mapping[Factors, Path] = field(default_factory=dict, compare=False, repr=False)

    def factor_path(self, factors: Factors) -> Path | None:
        """Where a file of factors of this edit should be; None where nothing says it."""
        found = self.factor_paths.get(factors)
        return found if found is not None or self.path is None else self.path.parent / factors.file

    @property
    def schema_version(self) -> int:
        """The version that it is written in: the oldest that can say what it says."""
        return int(self.to_json()["schema_version"])

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values, in the order of the schema, in the oldest version that can say it.

        Raises:
            ManifestError: a value is none that JSON has, such as NaN; the message names the field.
        """
        return self._to_json(self.name)

    def newest_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values of the newest version."""
        return self._newest_json(self.name)

    def _to_json(self, source: str) -> dict[str, Any]:
        document = self._newest_json(source)
        return versions.to_1(document) if versions.fits_1(document) else document

    def _newest_json(self, source: str) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in KEYS if key != "schema_version"}
        values = {key: one.to_json() if isinstance(one, Record) else one for key, one in values.items()}
        values["edits"] = [one.to_json() for one in self.edits]
        try:
            document: dict[str, Any] = plain({"schema_version": versions.NEWEST, **values})
        except NotStrictError as error:
            raise ManifestError(f"{printable(source, MAX_SHOWN_PATH)}: {error}") from None
        return document

    def digest(self) -> str:
        """The edit's identity: sha256 of its canonical JSON (RFC 8785) without what was only measured.

        That is `NOT_IN_DIGEST` and, of each matrix edit, `MEASURED`.
        """
        import rfc8785

        document = {key: value for key, value in self.to_json().items() if key not in NOT_IN_DIGEST}
        for entry in document["edits"]:
            for key in MEASURED:
                entry.pop(key, None)
        return hashlib.sha256(rfc8785.dumps(document)).hexdigest()

    def _repr_html_(self) -> str:
        """What notebooks show of it."""
        from cti_edits.artifact.html_table import edit_table

        return edit_table(self)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest to ``path``, whole or not at all, and return the path.

        Folders on the way are made. A symbolic link at ``path`` is replaced; what it pointed to stays.

        Raises:
            ManifestError: what would be written is not a valid manifest.
            WriteError: the folder cannot be written to.
        """
        target = Path(path)
        text = _text(self._to_json(str(target)))
        parse(text.encode(), source=str(target))
        write_atomically(target, text.encode())
        return target


def _text(document: dict[str, Any]) -> str:
    """A manifest as it is written: indented, but the arrays of directions, of version 2, on one line each."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    if document["schema_version"] > versions.OLDEST:
        text = DIRECTION_ARRAY.sub(lambda array: " ".join(array[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    return text + "\n"


def load(path: str | os.PathLike[str]) -> Edit:
    """Read and validate the manifest at ``path``.

    Raises:
        ManifestError: the file cannot be read or is not a valid manifest; the message names file and field.
    """
    file = Path(path)
    shown = printable(file, MAX_SHOWN_PATH)
    try:
        if not file.is_file():
            raise ManifestError(
                f"{shown}: expected an edit manifest, a JSON file, "
                + (
                    "got something that is not a regular file"
                    if file.exists()
                    else f"but there is no such file{_near(file)}"
                )
            )
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{shown}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ManifestError(f"{shown}: not a file name") from None
    return replace(parse(content, source=str(file)), path=file)


def _near(file: Path) -> str:
    """Names like that of a file that is not there, of those beside it: "; did you mean a.json?"."""
    beside = sorted(one.name for one in file.parent.glob("*.json") if one.is_file())
    near = difflib.get_close_matches(file.name, beside, 1, 0.8)
    return f"; did you mean {printable(near[0])}?" if near else ""


def parse(content: bytes, source: str = "manifest") -> Edit:
    """The `Edit` in ``content``, the bytes of a manifest; ``source`` names it in messages.

    Raises:
        ManifestError: for anything but a valid manifest.
    """
    shown = printable(source, MAX_SHOWN_PATH)

    def refuse(message: str) -> NoReturn:
        raise ManifestError(f"{shown}: {message}")

    if len(content) > MAX_BYTES:
        refuse(f"larger than {MAX_BYTES:,} bytes, the most that an edit manifest may have")
    try:
        document = strict_json(content)
    except NotStrictError as error:
        refuse(str(error))
    if not isinstance(document, dict):
        refuse(f"expected a JSON object, got {json_type(document)}")
    version = _version(document, refuse)
    if wrong := first_error(document, f"edit-{version}"):
        refuse(wrong)
    for older in range(version, versions.NEWEST):
        document = versions.MIGRATIONS[older](document)
    return _to_edit(document, refuse)


def _version(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> int:
    """The version of a manifest, one that is known here."""
    if "schema_version" not in document:
        refuse(f"schema_version: missing; expected an integer from {versions.OLDEST} to {versions.NEWEST}")
    version = document["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        refuse(f"schema_version: expected an integer, got {json_type(version)} {shown_value(version)}".rstrip())
    if version > versions.NEWEST:
        refuse(f"schema_version: {version} is newer than {versions.NEWEST}, the newest known here; upgrade cti-edits")
    if version < versions.OLDEST:
        refuse(f"schema_version: expected an integer from {versions.OLDEST} to {versions.NEWEST}, got {version}")
    return version


def _to_edit(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> Edit:
    """The `Edit` of a document that the schema allows, after the checks that no schema can express."""
    edits: list[MatrixEdit] = []
    known: dict[MatrixId | tuple[str, str | None], list[int]] = {}
    for index, entry in enumerate(document["edits"]):
        where = f"edits[{index}]"
        one = matrix_edit_of(entry)
        if fault := next(one.faults(), None):
            refuse(f"{where}.{fault}")
        # The same matrix by its role, or by its parameter.
        for key in (one.id, (one.module, one.parameter)):
            for other in known.setdefault(key, []):
                if one.meets(edits[other]):
                    refuse(f"{where}: edits the same matrix as edits[{other}]")
            known[key].append(index)
        edits.append(one)
    task, search, results = document["task"], document["search"], Results.from_json(document["results"])
    for part, measured in (("calibration", results.calibration), ("test", results.test)):
        interval = None if measured is None else measured.ci95
        if interval is not None and interval[0] > interval[1]:
            refuse(f"results.{part}.ci95: expected the lower end first, got {list(interval)}")
    records: dict[str, Any] = {
        "base_model": BaseModel(**document["base_model"]),
        "edits": tuple(edits),
        "task": None if task is None else TaskRecord.from_json(task),
        "search": None if search is None else SearchRecord.from_json(search),
        "results": results,
        "provenance": Provenance(**document["provenance"]),
    }
    given = {key: document[key] for key in ("name", "description", "metadata")}
    return Edit(**given, **records)
