"""The edit manifest: read, validate, canonical form, digest, write. Knows JSON and nothing of models.

Reading takes any bytes and ends in an `Edit` or a `ManifestError`; nothing in a manifest is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from cti_edits.artifact.manifest_schema import SCHEMA_VERSION, first_error, shown_value
from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks, full_ranks
from cti_edits.artifact.records import NO_RESULTS, Provenance, Record, Results, SearchRecord, TaskRecord
from cti_edits.artifact.strict_json import NotStrictError, json_type, plain, strict_json
from cti_edits.errors import MAX_SHOWN_PATH, EditError, ManifestError, printable
from cti_edits.files import write_atomically

MAX_BYTES = 1 << 20
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From an older schema_version n: a pure function to version n + 1."""

KEYS = (
    "schema_version",
    "name",
    "description",
    "method",
    "base_model",
    "edits",
    "task",
    "search",
    "results",
    "provenance",
    "metadata",
)
"""The keys of a manifest, in the order in which they are written."""

NOT_IN_DIGEST = ("provenance", "results", "metadata")

OPTIONAL = ("dtype", "tensor", "retained_energy", "tied_blocks")
"""Keys of a matrix edit that are left out where they are None."""

MEASURED = ("retained_energy", "tied_blocks")
"""Keys of a matrix edit that say what came of it and change nothing of it: not in the digest."""


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
class Factors:
    """A safetensors file beside the manifest, with its sha256 and its size in bytes."""

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class MatrixEdit:
    """One weight matrix W (m, n), rows = output features, whose K row blocks are cut to ``block_ranks``.

    Attributes:
        matrix: its role, "U_in", "U_out", …
        layer: 0-based index of the transformer block.
        module: dotted name of the module that holds it.
        shape: (m, n).
        rho: ρ, the share of the maximum rank that was asked for.
        clusters: K.
        block_ranks: j_k, the ranks that are kept and applied.
        partition: how rows are assigned to blocks; see `ranks.partition_rows`.
        sha256: hash of W as the checkpoint stores it (see `identity.tensor_sha256`), or None.
        frobenius_norm: ‖W‖_F, or None.
        factors: where the factors are, or None.
        dtype: the dtype that ``sha256`` is over, "F16"; None: ``base_model.dtype``.
        tensor: name of W in the checkpoint; None: ``module`` and ".weight".
        retained_energy: ‖Ŵ_k‖²_F / ‖W_k‖²_F, one a block, or None.
        tied_blocks: indices of blocks whose singular values tie at the cut, or None.
    """

    matrix: str
    layer: int
    module: str
    shape: tuple[int, int]
    rho: float
    clusters: int
    block_ranks: tuple[int, ...]
    partition: str = ROW_BLOCKS
    sha256: str | None = None
    frobenius_norm: float | None = None
    factors: Factors | None = None
    dtype: str | None = None
    tensor: str | None = None
    retained_energy: tuple[float, ...] | None = None
    tied_blocks: tuple[int, ...] | None = None


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
    method: str = "block-svd"
    schema_version: int = SCHEMA_VERSION
    path: Path | None = field(default=None, compare=False, repr=False)
    factor_paths: Mapping[Factors, Path] = field(default_factory=dict, compare=False, repr=False)

    def factor_path(self, factors: Factors) -> Path | None:
        """Where a file of factors of this edit should be; None where nothing says it."""
        found = self.factor_paths.get(factors)
        return found if found is not None or self.path is None else self.path.parent / factors.file

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values, in the order of the schema.

        Raises:
            ManifestError: a value is none that JSON has, such as NaN; the message names the field.
        """
        return self._to_json(self.name)

    def _to_json(self, source: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in KEYS if key not in without}
        values = {key: one.to_json() if isinstance(one, Record) else one for key, one in values.items()}
        try:
            document: dict[str, Any] = plain(values)
        except NotStrictError as error:
            raise ManifestError(f"{printable(source, MAX_SHOWN_PATH)}: {error}") from None
        for entry in document["edits"]:
            for key in OPTIONAL:
                if entry[key] is None:
                    del entry[key]
        return document

    def digest(self) -> str:
        """The edit's identity: sha256 of its canonical JSON (RFC 8785) without what was only measured.

        That is `NOT_IN_DIGEST` and, of each matrix edit, `MEASURED`.
        """
        import rfc8785

        document = self._to_json(self.name, without=NOT_IN_DIGEST)
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
        text = json.dumps(self._to_json(str(target)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        parse(text.encode(), source=str(target))
        write_atomically(target, text.encode())
        return target


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
                + ("got something that is not a regular file" if file.exists() else "but there is no such file")
            )
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{shown}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ManifestError(f"{shown}: not a file name") from None
    return replace(parse(content, source=str(file)), path=file)


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
    document = _migrate(document, refuse)
    if wrong := first_error(document):
        refuse(wrong)
    return _to_edit(document, refuse)


def _migrate(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Bring a manifest of an older version to the current one."""
    if "schema_version" not in document:
        refuse('schema_version: missing; a manifest of this version has "schema_version": 1')
    version = document["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        refuse(f"schema_version: expected an integer, got {json_type(version)} {shown_value(version)}".rstrip())
    if version > SCHEMA_VERSION:
        refuse(f"schema_version: {version} is newer than {SCHEMA_VERSION}, the newest known here; upgrade cti-edits")
    if version < SCHEMA_VERSION and version not in MIGRATIONS:
        refuse(f"schema_version: expected an integer from 1 to {SCHEMA_VERSION}, got {version}")
    while version < SCHEMA_VERSION:
        document = MIGRATIONS[version](document)
        version += 1
    return document


def _to_edit(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> Edit:
    """The `Edit` of a document that the schema allows, after the checks that no schema can express."""
    edits = []
    places: dict[tuple[str, int] | str, int] = {}
    for index, entry in enumerate(document["edits"]):
        where = f"edits[{index}]"
        shape = (entry["shape"][0], entry["shape"][1])
        rows, clusters, ranks = shape[0], entry["clusters"], tuple(entry["block_ranks"])
        if clusters > rows:
            refuse(f"{where}.clusters: expected at most {rows} (the number of rows), got {clusters}")
        if len(ranks) != clusters:
            refuse(f"{where}.block_ranks: expected {clusters} ranks, one a row block (clusters), got {len(ranks)}")
        try:
            expected = block_ranks(shape, clusters, entry["rho"], entry["partition"])
        except EditError as error:
            refuse(f"{where}.partition: {error}")
        if ranks != expected:
            block = next(k for k in range(clusters) if ranks[k] != expected[k])
            full = full_ranks(shape, clusters, entry["partition"])[block]
            because = f"rho {entry['rho']} of the block's full rank {full}"
            refuse(f"{where}.block_ranks[{block}]: expected {expected[block]} ({because}), got {ranks[block]}")
        # The same matrix by its role, or by its module.
        for place in ((entry["matrix"], entry["layer"]), entry["module"]):
            if place in places:
                refuse(f"{where}: edits the same matrix as edits[{places[place]}]")
            places[place] = index
        energy, tied = entry.get("retained_energy"), entry.get("tied_blocks")
        if energy is not None and len(energy) != clusters:
            refuse(f"{where}.retained_energy: expected {clusters} numbers, one a row block, got {len(energy)}")
        if tied is not None and (sorted(set(tied)) != tied or tied[-1] >= clusters):
            refuse(f"{where}.tied_blocks: expected ascending block numbers from 0 to {clusters - 1}, got {tied[:20]}")
        parts: dict[str, Any] = {
            "shape": shape,
            "block_ranks": ranks,
            "factors": Factors(**entry["factors"]) if entry["factors"] else None,
            "retained_energy": None if energy is None else tuple(energy),
            "tied_blocks": None if tied is None else tuple(tied),
        }
        edits.append(MatrixEdit(**{**entry, **parts}))
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
    return Edit(**{**document, **records})
