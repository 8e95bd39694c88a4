"""``--json``: what a command reports as JSON, one object a line on standard output.

Numbers are written as they are, not rounded; what is no number in JSON, NaN and infinity, is null. An error is one line
on standard error, as without ``--json``, with the same exit code.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line; docs/json.md has its keys.")]


def print_json(record: object) -> None:
    """Print one object, at once: whoever reads it need not wait for the next.

    Args:
        record: a dataclass, or a mapping.
    """
    # Without other characters than ASCII, it is the same under any encoding.
    print(json.dumps(plain(record), allow_nan=False), flush=True)


def plain(value: object) -> Any:
    """``value`` as JSON has it: dataclasses and mappings as objects, sequences as arrays, paths as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    raise TypeError(f"no JSON of {type(value).__name__}")
