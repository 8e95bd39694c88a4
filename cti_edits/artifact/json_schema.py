"""Checks a document against its JSON Schema, and says in words which field is wrong and how."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from cti_edits.artifact.strict_json import JSON_NAMES, field_name, json_type
from cti_edits.errors import printable
from cti_edits.paths import folder

_NUMBERS = {"integer": (int,), "number": (int, float)}
_RANGE = {"type", "minimum", "maximum"}


@cache
def _validator(name: str) -> Any:
    """The validator of the schema ``name``, stricter than jsonschema's own where JSON Schema or Python is lax.

    An integer is an integer (jsonschema takes 4.0, Python takes True), and a pattern's ``$`` is the end of the text (in
    Python it also stands before a last line feed).
    """
    import jsonschema

    base = jsonschema.Draft202012Validator

    def pattern(_validator: Any, wanted: str, value: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(value, str) and re.fullmatch(wanted, value) is None:
            yield jsonschema.ValidationError("does not match")

    def items(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        # The short way for a hundred thousand ranks or factors: jsonschema takes half a second for them.
        kinds = _NUMBERS.get(wanted.get("type"), ())
        if kinds and wanted.keys() <= _RANGE and isinstance(value, list):
            low, high = wanted.get("minimum", -math.inf), wanted.get("maximum", math.inf)
            if all(type(one) in kinds and low <= one <= high for one in value):
                return
        yield from base.VALIDATORS["items"](validator, wanted, value, schema)

    schema = json.loads((folder("schemas") / f"{name}.schema.json").read_text(encoding="utf-8"))
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int).redefine(
        "number", lambda _, value: type(value) in (int, float)
    )
    return jsonschema.validators.extend(base, {"pattern": pattern, "items": items}, type_checker=checker)(schema)  # type: ignore[no-untyped-call]


def first_error(document: Any, schema: str) -> str | None:
    """The first field that a schema ("edit-1") does not allow, and what is wrong with it; None if all is well."""
    error = next(_validator(schema).iter_errors(document), None)
    if error is None:
        return None
    or_null = ""
    while error.validator == "anyOf":
        # Every anyOf of the schema is null or one other kind, and what that one finds wrong says more.
        error = next(inner for inner in error.context if inner.validator_value != "null")
        or_null = "" if error.relative_path else " or null"
    path = field_name(error.absolute_path)
    return f"{path}: {_explain(error, or_null)}" if path else _explain(error, or_null)


def _explain(error: Any, or_null: str) -> str:
    value, limit = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in value if key not in known)
        return f"unknown key {json.dumps(printable(unknown, 60), ensure_ascii=False)} (known: {', '.join(known)})"
    if error.validator == "required":
        missing = next(key for key in limit if key not in value)
        return f"the key {json.dumps(missing)} is missing"
    if error.validator == "dependentRequired":
        missing = next(one for key in value if key in limit for one in limit[key] if one not in value)
        return f"the key {json.dumps(missing)} is missing"
    if error.validator == "type":
        names = " or ".join(JSON_NAMES[kind] for kind in ([limit] if isinstance(limit, str) else limit))
        return f"expected {names}{or_null}, got {json_type(value)} {shown_value(value)}".rstrip()
    if error.validator in ("const", "enum"):
        wanted = [limit] if error.validator == "const" else limit
        return f"expected {' or '.join(json.dumps(one) for one in wanted)}, got " + (
            shown_value(value) or json_type(value)
        )
    if error.validator in _SIZES:
        bound, unit = _SIZES[error.validator]
        return f"expected {bound} {limit} {unit}, got {len(value)}"
    if error.validator == "pattern":
        return f"expected text that matches {limit}{or_null}, got {shown_value(value)}"
    return f"expected {_BOUNDS[error.validator]} {limit}{or_null}, got {shown_value(value)}"


_SIZES = {
    "minItems": ("at least", "items"),
    "maxItems": ("at most", "items"),
    "minLength": ("at least", "characters"),
    "maxLength": ("at most", "characters"),
    "minProperties": ("at least", "keys"),
    "maxProperties": ("at most", "keys"),
}
_BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above"}


def shown_value(value: Any) -> str:
    """The value for a message: cut, escaped, and nothing for an object, an array or null."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return printable(json.dumps(value[:100] if isinstance(value, str) else value, ensure_ascii=False), 80)
