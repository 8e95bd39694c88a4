"""JSON as manifests are written: UTF-8, each key once, finite numbers, bounded nesting."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cti_edits.errors import printable

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1


class NotStrictError(ValueError):
    """The bytes, or the values, are not the strict JSON that manifests are written in."""


@dataclass(frozen=True)
class _RefusedNumber:
    """Stands for a number that is refused, from where the parser meets it to where its field is known."""

    why: str


def strict_json(content: bytes) -> Any:
    """Parse UTF-8 JSON, refusing what json.loads lets through: duplicate keys, NaN, Infinity, 1e400, huge integers."""
    if content.startswith(b"\xef\xbb\xbf"):
        raise NotStrictError("starts with a byte order mark; save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrictError(f"not UTF-8 text (byte {error.start})") from None
    if not text:
        raise NotStrictError("not JSON: the file is empty")
    if "\0" in text:
        raise NotStrictError(f"not JSON: a NUL byte (byte {content.index(0)}), as UTF-16 has; save it as UTF-8")
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
                    raise NotStrictError(f"the key {json.dumps(printable(key, 60))} is given twice in one object")
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
        raise NotStrictError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    return plain(document) if suspect else document


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
            raise NotStrictError(f"nested more than {MAX_DEPTH} levels deep")


def plain(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """``value`` as dicts, lists, text, finite numbers, booleans and None; a dataclass as a dict.

    Raises:
        NotStrictError: JSON has no such value; the message names the field.
    """
    if value is None or isinstance(value, bool):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, (_RefusedNumber, type)):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    why = None
    if len(path) > MAX_DEPTH:
        why = f"nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, (list, tuple)):
        return [plain(inner, (*path, index)) for index, inner in enumerate(value)]
    elif isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str) or _has_surrogate(key)), None)
        if wrong is None:
            return {key: plain(inner, (*path, key)) for key, inner in value.items()}
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
        raise NotStrictError(f"{field_name(path)}: {why}" if path else why)
    return value


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def field_name(path: Iterable[str | int]) -> str:
    """A field as people write it: ``edits[0].rho``."""
    return printable("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip("."))


JSON_NAMES = {
    "null": "null",
    "boolean": "a boolean",
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
}


def json_type(value: Any) -> str:
    """What kind of JSON value it is, for a message: ``an array``."""
    kinds = {bool: "boolean", dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return JSON_NAMES["null" if value is None else kinds[type(value)]]
