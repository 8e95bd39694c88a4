"""Arguments of a model as canonical JSON, for records and hashes."""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Callable, Mapping

import torch

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def class_name(value: object) -> Json:
    """Module and name of an object's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def canonical(value: Mapping[str, object]) -> str:
    """Canonical JSON (RFC 8785) of arguments, after `plain_value`."""
    import rfc8785

    return rfc8785.dumps(plain_value(value)).decode()


def plain_value(value: object, other: Callable[[object], Json] = class_name) -> Json:
    """An argument as JSON values: a dtype or a path becomes its name, a configuration of transformers its fields.

    Args:
        value: the argument.
        other: makes a JSON value of any other object.
    """
    if isinstance(value, enum.Enum):
        return plain_value(value.value, other)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, Mapping):
        return {str(key): plain_value(one, other) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one, other) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((plain_value(one, other) for one in value), key=json.dumps)
    if callable(to_dict := getattr(value, "to_dict", None)) and not isinstance(value, type):
        return plain_value(to_dict(), other)
    return other(value)
