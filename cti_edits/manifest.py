"""The edit manifest: read, validate, canonical form, digest, write. Knows JSON and nothing of models.

Reading takes any bytes and ends in an `Edit` or a `ManifestError`; nothing in a manifest is ever executed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from cti_edits.errors import EditError, ManifestError, printable
from cti_edits.ranks import ROW_BLOCKS, block_ranks, full_ranks
from cti_edits.resources import folder

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
MAX_SHOWN_PATH = 4096
"""Characters of a file's path in a message."""

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
    partition: str = ROW_BLOCKS
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
        """The manifest as plain JSON values, in the order of the schema.

        Raises:
            ManifestError: a value is none that JSON has, such as NaN; the message names the field.
        """
        return self._to_json(self.name)

    def _to_json(self, source: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
        try:
            document: dict[str, Any] = _plain({key: getattr(self, key) for key in KEYS if key not in without})
        except _NotStrictError as error:
            raise ManifestError(f"{printable(source, MAX_SHOWN_PATH)}: {error}") from None
        return document

    def digest(self) -> str:
        """The edit's identity: sha256 of its canonical JSON (RFC 8785) without provenance, results and metadata."""
        import rfc8785

        return hashlib.sha256(rfc8785.dumps(self._to_json(self.name, without=NOT_IN_DIGEST))).hexdigest()

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest to ``path``, whole or not at all, and return the path.

        Folders on the way are made. A symbolic link at ``path`` is replaced; what it pointed to stays.

        Raises:
            ManifestError: what would be written is not a valid manifest, or the folder cannot be written to.
        """
        target = Path(path)
        text = json.dumps(self._to_json(str(target)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        parse(text.encode(), source=str(target))
        write_atomically(target, text.encode())
        return target


def write_atomically(target: Path, content: bytes) -> None:
    """Put ``content`` at ``target`` by way of a temporary file in the same folder, which is created if need be.

    Raises:
        ManifestError: the folder or the file cannot be written.
    """
    temporary = target.parent / f".cti-edits-{secrets.token_hex(8)}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{printable(target, MAX_SHOWN_PATH)}: cannot write here: {reason}") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


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
    return parse(content, source=str(file))


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
        document = _strict_json(content)
    except _NotStrictError as error:
        refuse(str(error))
    if not isinstance(document, dict):
        refuse(f"expected a JSON object, got {_json_type(document)}")
    document = _migrate(document, refuse)
    _validate(document, refuse)
    return _to_edit(document, refuse)


class _NotStrictError(ValueError):
    """The bytes, or the values, are not the strict JSON that manifests are written in."""


@dataclass(frozen=True)
class _RefusedNumber:
    """Stands for a number that is refused, from where the parser meets it to where its field is known."""

    why: str


def _strict_json(content: bytes) -> Any:
    """Parse UTF-8 JSON, refusing what json.loads lets through: duplicate keys, NaN, Infinity, 1e400, huge integers."""
    if content.startswith(b"\xef\xbb\xbf"):
        raise _NotStrictError("starts with a byte order mark; save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _NotStrictError(f"not UTF-8 text (byte {error.start})") from None
    _check_depth(text)
    # A surrogate can come by an escape only: the bytes were UTF-8.
    suspect = re.search(r"\\u[dD][89a-fA-F]", text) is not None

    def refused(digits: str, why: str) -> _RefusedNumber:
        nonlocal suspect
        suspect = True
        return _RefusedNumber(f"{printable(digits, 40)} {why}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    raise _NotStrictError(f"the key {json.dumps(printable(key, 60))} is given twice in one object")
                seen.add(key)
        return result

    def number(digits: str) -> float | _RefusedNumber:
        value = float(digits)
        return refused(digits, "is too large a number") if math.isinf(value) else value

    def integer(digits: str) -> int | _RefusedNumber:
        # Python takes quadratic time for the digits of an integer.
        if len(digits) <= 17 and -MAX_INTEGER <= (value := int(digits)) <= MAX_INTEGER:
            return value
        return refused(digits, f"is too large an integer (the most is {MAX_INTEGER})")

    try:
        document = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_constant=lambda name: refused(name, "is not a JSON number"),
            parse_float=number,
            parse_int=integer,
        )
    except json.JSONDecodeError as error:
        raise _NotStrictError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    return _plain(document) if suspect else document


def _check_depth(text: str) -> None:
    """Refuse nesting past `MAX_DEPTH` before the parser, which recurses, sees it. Strings do not count.

    Escapes go first: a regular expression that steps over them in a string keeps a state for each character, which
    is 140 MB for a megabyte of text.
    """
    without_strings = re.sub(r'"[^"]*"?', "", text.replace(r"\\", "").replace(r"\"", ""))
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", without_strings):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise _NotStrictError(f"nested more than {MAX_DEPTH} levels deep")


def _plain(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """``value`` as dicts, lists, text, finite numbers, booleans and None; a dataclass as a dict.

    Raises:
        _NotStrictError: JSON has no such value; the message names the field.
    """
    if value is None or isinstance(value, bool):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, (_RefusedNumber, type)):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    why = None
    if len(path) > MAX_DEPTH:
        why = f"nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, (list, tuple)):
        return [_plain(inner, (*path, index)) for index, inner in enumerate(value)]
    elif isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str) or _has_surrogate(key)), None)
        if wrong is None:
            return {key: _plain(inner, (*path, key)) for key, inner in value.items()}
        why = f"the key {printable(ascii(wrong), 60)} is not text that UTF-8 can write"
    elif isinstance(value, str):
        why = "has half of a surrogate pair, which is no character" if _has_surrogate(value) else None
    elif isinstance(value, int):
        why = f"expected an integer of at most {MAX_INTEGER}" if abs(value) > MAX_INTEGER else None
    elif isinstance(value, float):
        why = None if math.isfinite(value) else f"{value} is not a JSON number"
    else:
        why = value.why if isinstance(value, _RefusedNumber) else f"expected a JSON value, got {type(value).__name__}"
    if why is not None:
        raise _NotStrictError(f"{_field(path)}: {why}" if path else why)
    return value


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _field(path: Iterable[str | int]) -> str:
    """A field as people write it: ``edits[0].rho``."""
    return printable("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip("."))


def _migrate(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Bring a manifest of an older version to the current one."""
    if "schema_version" not in document:
        refuse('schema_version: missing; a manifest of this version has "schema_version": 1')
    version = document["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        refuse(f"schema_version: expected an integer, got {_json_type(version)} {_shown(version)}".rstrip())
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
    """The schema's validator, stricter than jsonschema's own where JSON Schema or Python is lax.

    An integer is an integer (jsonschema takes 4.0, Python takes True), and a pattern's ``$`` is the end of the text (in
    Python it also stands before a last line feed).
    """
    import jsonschema

    base = jsonschema.Draft202012Validator

    def pattern(_validator: Any, wanted: str, value: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(value, str) and re.fullmatch(wanted, value) is None:
            yield jsonschema.ValidationError("does not match")

    def items(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        # The short way for a hundred thousand ranks: jsonschema takes half a second for them.
        if wanted.get("type") == "integer" and isinstance(value, list):
            low, high = wanted["minimum"], wanted["maximum"]
            if all(type(one) is int and low <= one <= high for one in value):
                return
        yield from base.VALIDATORS["items"](validator, wanted, value, schema)

    schema = json.loads((folder("schemas") / f"edit-{SCHEMA_VERSION}.schema.json").read_text(encoding="utf-8"))
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int).redefine(
        "number", lambda _, value: type(value) in (int, float)
    )
    return jsonschema.validators.extend(base, {"pattern": pattern, "items": items}, type_checker=checker)(schema)  # type: ignore[no-untyped-call]


def _validate(document: dict[str, Any], refuse: Callable[[str], NoReturn]) -> None:
    """Check the manifest against the schema and name the first field that is wrong."""
    error = next(_validator().iter_errors(document), None)
    if error is None:
        return
    or_null = ""
    while error.validator == "anyOf":
        # Every anyOf of the schema is null or one other kind, and what that one finds wrong says more.
        error = next(inner for inner in error.context if inner.validator_value != "null")
        or_null = "" if error.relative_path else " or null"
    path = _field(error.absolute_path)
    refuse(f"{path}: {_explain(error, or_null)}" if path else _explain(error, or_null))


def _explain(error: Any, or_null: str) -> str:
    value, limit = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in value if key not in known)
        return f"unknown key {json.dumps(printable(unknown, 60), ensure_ascii=False)} (known: {', '.join(known)})"
    if error.validator == "required":
        missing = next(key for key in limit if key not in value)
        return f"the key {json.dumps(missing)} is missing"
    if error.validator == "type":
        return f"expected {_JSON_NAMES[limit]}{or_null}, got {_json_type(value)} {_shown(value)}".rstrip()
    if error.validator in ("const", "enum"):
        wanted = [limit] if error.validator == "const" else limit
        return f"expected {' or '.join(json.dumps(one) for one in wanted)}, got {_shown(value) or _json_type(value)}"
    if error.validator in _SIZES:
        bound, unit = _SIZES[error.validator]
        return f"expected {bound} {limit} {unit}, got {len(value)}"
    if error.validator == "pattern":
        return f"expected text that matches {limit}{or_null}, got {_shown(value)}"
    return f"expected {_BOUNDS[error.validator]} {limit}{or_null}, got {_shown(value)}"


_SIZES = {
    "minItems": ("at least", "items"),
    "maxItems": ("at most", "items"),
    "minLength": ("at least", "characters"),
    "maxLength": ("at most", "characters"),
    "maxProperties": ("at most", "keys"),
}
_BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above"}


def _shown(value: Any) -> str:
    """The value for a message: cut, escaped, and nothing for an object, an array or null."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return printable(json.dumps(value[:100] if isinstance(value, str) else value, ensure_ascii=False), 80)


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
        factors = Factors(**entry["factors"]) if entry["factors"] else None
        edits.append(MatrixEdit(**{**entry, "shape": shape, "block_ranks": ranks, "factors": factors}))
    for part in ("calibration", "test"):
        interval = (document["results"][part] or {}).get("ci95")
        if interval is not None and interval[0] > interval[1]:
            refuse(f"results.{part}.ci95: expected the lower end first, got {interval}")
    return Edit(**{**document, "base_model": BaseModel(**document["base_model"]), "edits": tuple(edits)})


_JSON_NAMES = {
    "null": "null",
    "boolean": "a boolean",
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
}


def _json_type(value: Any) -> str:
    kinds = {bool: "boolean", dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return _JSON_NAMES["null" if value is None else kinds[type(value)]]
