"""The edit manifest: read, validate, canonical form, digest, write. Knows JSON and nothing of models.

Reading takes any bytes and ends in an `Edit` or a `ManifestError`; nothing in a manifest is ever executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from cti_edits.errors import EditError, ManifestError, printable
from cti_edits.ranks import block_ranks
from cti_edits.resources import folder

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From an older schema_version n: a pure function to version n + 1."""

NOT_IN_DIGEST = ("provenance", "results", "metadata")


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
        partition: how rows are assigned to blocks.
        sha256: hash of the tensor that was edited (see `apply.tensor_sha256`), or None.
        frobenius_norm: ‖W‖_F, or None.
        factors: where the factors are, or None.
    """

    matrix: str
    layer: int
    module: str
    shape: tuple[int, int]
    rho: float
    clusters: int
    block_ranks: tuple[int, ...]
    partition: str = "row-blocks"
    sha256: str | None = None
    frobenius_norm: float | None = None
    factors: Factors | None = None


@dataclass(frozen=True)
class Edit:
    """What a manifest holds: zero or more matrix edits and where they came from. `schemas/` describes each field."""

    name: str
    description: str
    base_model: BaseModel
    edits: tuple[MatrixEdit, ...]
    task: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None
    results: Mapping[str, Any] = field(default_factory=lambda: {"calibration": None, "test": None})
    provenance: Mapping[str, Any] = field(
        default_factory=lambda: {"created": None, "tool": "cti-edits", "source": None, "versions": {}}
    )
    metadata: Mapping[str, Any] = field(default_factory=dict)
    method: str = "block-svd"
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values, in the order of the schema."""
        document: dict[str, Any] = {
            "schema_version": self.schema_version,
            "name": self.name,
            "description": self.description,
            "method": self.method,
            "base_model": dataclasses.asdict(self.base_model),
            "edits": [],
            "task": self.task,
            "search": self.search,
            "results": self.results,
            "provenance": self.provenance,
            "metadata": self.metadata,
        }
        for matrix_edit in self.edits:
            entry = dataclasses.asdict(matrix_edit)
            entry["shape"] = list(matrix_edit.shape)
            entry["block_ranks"] = list(matrix_edit.block_ranks)
            document["edits"].append(entry)
        return document

    def digest(self) -> str:
        """The edit's identity: sha256 of its canonical JSON (RFC 8785) without provenance, results and metadata."""
        import rfc8785

        document = {key: value for key, value in self.to_json().items() if key not in NOT_IN_DIGEST}
        return hashlib.sha256(rfc8785.dumps(document)).hexdigest()

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest to ``path``, whole or not at all, and return the path.

        Raises:
            ManifestError: what would be written is not a valid manifest, or the folder cannot be written to.
        """
        target = Path(path)
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        parse(text.encode(), source=str(target))
        write_atomically(target, text.encode())
        return target


def write_atomically(target: Path, content: bytes) -> None:
    """Put ``content`` at ``target`` by way of a temporary file in the same folder, which is created if need be.

    Raises:
        ManifestError: the folder or the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as error:
        raise ManifestError(f"{printable(target)}: cannot write here: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ManifestError(f"{printable(target)}: cannot write here: {error.strerror or error}") from None
        raise


def load(path: str | os.PathLike[str]) -> Edit:
    """Read and validate the manifest at ``path``.

    Raises:
        ManifestError: the file cannot be read or is not a valid manifest; the message names file and field.
    """
    file = Path(path)
    shown = printable(file)
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
    return parse(content, source=str(file))


def parse(content: bytes, source: str = "manifest") -> Edit:
    """The `Edit` in ``content``, the bytes of a manifest; ``source`` names it in messages.

    Raises:
        ManifestError: for anything but a valid manifest.
    """
    shown = printable(source)

    def refuse(message: str) -> NoReturn:
        raise ManifestError(f"{shown}: {message}")

    if len(content) > MAX_BYTES:
        refuse(f"larger than {MAX_BYTES:,} bytes, the most that an edit manifest may have")
    try:
        document = _strict_json(content)
    except _NotStrictError as error:
        refuse(str(error))
    if not isinstance(document, dict):
        refuse(f"expected a JSON object, got {_json_type(document)}")
    document = _migrate(document, refuse)
    _validate(document, refuse)
    return _to_edit(document, refuse)


class _NotStrictError(ValueError):
    """The bytes are not the strict JSON that manifests are written in."""


def _strict_json(content: bytes) -> Any:
    """Parse UTF-8 JSON, refusing what json.loads lets through: duplicate keys, NaN, Infinity, 1e400, huge integers."""
    if content.startswith(b"\xef\xbb\xbf"):
        raise _NotStrictError("starts with a byte order mark; save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _NotStrictError(f"not UTF-8 text (byte {error.start})") from None
    _check_depth(text)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    raise _NotStrictError(f"the key {json.dumps(printable(key, 60))} is given twice in one object")
                seen.add(key)
        return result

    def constant(name: str) -> NoReturn:
        raise _NotStrictError(f"{name} is not a JSON number")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise _NotStrictError(f"the number {printable(digits, 40)} is too large")
        return value

    def integer(digits: str) -> int:
        if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
            raise _NotStrictError(f"the integer {printable(digits, 40)} is too large")
        return int(digits)

    try:
        document = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_float=number, parse_int=integer
        )
    except json.JSONDecodeError as error:
        raise _NotStrictError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    if re.search(r"\\u[dD][89a-fA-F]", text):
        _check_surrogates(document)
    return document


def _check_depth(text: str) -> None:
    """Refuse nesting past `MAX_DEPTH` before the parser, which recurses, sees it. Strings do not count."""
    depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', text, re.DOTALL):
        character = token.group()[0]
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _NotStrictError(f"nested more than {MAX_DEPTH} levels deep")
        elif character in "]}":
            depth -= 1


def _check_surrogates(value: Any) -> None:
    """Refuse half of a surrogate pair: it is no character, and cannot be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _NotStrictError("a \\u escape is half of a surrogate pair, which is no character") from None


def _migrate(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Bring a manifest of an older version to the current one."""
    version = document.get("schema_version")
    if version is None:
        refuse('schema_version: missing; a manifest of this version has "schema_version": 1')
    if isinstance(version, bool) or not isinstance(version, int):
        refuse(f"schema_version: expected an integer, got {_json_type(version)}")
    if version > SCHEMA_VERSION:
        refuse(f"schema_version: {version} is newer than {SCHEMA_VERSION}, the newest known here; upgrade cti-edits")
    if version < SCHEMA_VERSION and version not in MIGRATIONS:
        refuse(f"schema_version: expected an integer from 1 to {SCHEMA_VERSION}, got {version}")
    while version < SCHEMA_VERSION:
        document = MIGRATIONS[version](document)
        version += 1
    return document


@cache
def _validator() -> Any:
    """The schema's validator, with integers that are integers: jsonschema takes 4.0, and Python takes True."""
    import jsonschema

    schema = json.loads((folder("schemas") / f"edit-{SCHEMA_VERSION}.schema.json").read_text(encoding="utf-8"))
    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int).redefine(
        "number", lambda _, value: type(value) in (int, float)
    )
    return jsonschema.validators.extend(base, type_checker=checker)(schema)  # type: ignore[no-untyped-call]


def _validate(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> None:
    """Check the manifest against the schema and name the first field that is wrong."""
    error = next(_validator().iter_errors(document), None)
    if error is None:
        return
    while error.validator == "anyOf" and error.context:
        # The branch that is not "null" says more.
        deeper = [inner for inner in error.context if inner.validator != "type" or inner.instance is None]
        if not deeper:
            break
        error = max(deeper, key=lambda inner: len(inner.absolute_path))
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    refuse(f"{printable(path, 200)}: {_explain(error)}" if path else _explain(error))


def _explain(error: Any) -> str:
    value = error.instance
    shown = printable(
        json.dumps(value, ensure_ascii=False) if not isinstance(value, (dict, list)) else _json_type(value), 80
    )
    if error.validator == "additionalProperties":
        unknown = sorted(set(value) - set(error.schema.get("properties", {})))
        known = ", ".join(error.schema.get("properties", {}))
        return f"unknown key {json.dumps(printable(unknown[0], 60))} (known: {known})"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in value]
        return f"the key {json.dumps(missing[0])} is missing"
    if error.validator == "type":
        wanted = error.validator_value
        return f"expected {wanted if isinstance(wanted, str) else ' or '.join(wanted)}, got {_json_type(value)} {shown}"
    if error.validator in ("const", "enum"):
        wanted = [error.validator_value] if error.validator == "const" else error.validator_value
        return f"expected {' or '.join(json.dumps(one) for one in wanted)}, got {shown}"
    if error.validator == "anyOf":
        return f"got {shown}, which is none of the kinds allowed here"
    limits = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
        "minItems": "at least this many items:",
        "maxItems": "at most this many items:",
        "minLength": "at least this many characters:",
        "maxLength": "at most this many characters:",
        "maxProperties": "at most this many keys:",
        "pattern": "text that matches",
    }
    return f"expected {limits.get(error.validator, error.validator)} {error.validator_value}, got {shown}"


def _to_edit(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> Edit:
    """The `Edit` of a document that the schema allows, after the checks that no schema can express."""
    edits = []
    places: dict[tuple[str, int] | str, int] = {}
    for index, entry in enumerate(document["edits"]):
        where = f"edits[{index}]"
        shape = (entry["shape"][0], entry["shape"][1])
        try:
            expected = block_ranks(shape, entry["clusters"], entry["rho"]) if entry["clusters"] <= 100_000 else ()
        except EditError as error:
            refuse(f"{where}.clusters: {error}")
        if tuple(entry["block_ranks"]) != expected:
            refuse(f"{where}.block_ranks: {_rank_difference(entry['block_ranks'], expected, entry)}")
        # The same matrix by its role, or by its module.
        for place in ((entry["matrix"], entry["layer"]), entry["module"]):
            if place in places:
                refuse(f"{where}: edits the same matrix as edits[{places[place]}]")
            places[place] = index
        factors = Factors(**entry["factors"]) if entry["factors"] else None
        edits.append(
            MatrixEdit(**{**entry, "shape": shape, "block_ranks": tuple(entry["block_ranks"]), "factors": factors})
        )
    for part in ("calibration", "test"):
        interval = (document["results"][part] or {}).get("ci95")
        if interval is not None and interval[0] > interval[1]:
            refuse(f"results.{part}.ci95: expected the lower end first, got {interval}")
    return Edit(**{**document, "base_model": BaseModel(**document["base_model"]), "edits": tuple(edits)})


def _rank_difference(got: list[int], expected: tuple[int, ...], entry: Mapping[str, Any]) -> str:
    because = f"shape {entry['shape']}, clusters {entry['clusters']} and rho {entry['rho']}"
    if len(got) != len(expected):
        return f"expected {entry['clusters']} ranks, one a row block, got {len(got)}"
    index = next(i for i, pair in enumerate(zip(got, expected, strict=True)) if pair[0] != pair[1])
    return f"block {index}: expected {expected[index]} by {because}, got {got[index]}"


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        dict: "an object",
        list: "an array",
        str: "a string",
        int: "an integer",
        float: "a number",
    }
    return names[type(value)]
