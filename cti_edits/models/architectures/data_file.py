"""Reading an architecture file: its keys, those of the file that it is like, and what is wrong with it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from cti_edits.artifact.json_schema import first_error
from cti_edits.errors import EditError, printable
from cti_edits.models.architectures.family import Family, MatrixPlace, RowShares, Stack, WeightRows

SCHEMA = "architecture"
SHIPPED = Path(__file__).parent
"""The folder of the files that come with cti-edits."""

MOST_LIKE = 3
"""So many files a file may be like, one by way of the other."""

NEEDED = ("kind", "weight_rows")
INSTEAD = {"stacks": ("layers", "matrices"), "layers": ("stacks",), "matrices": ("stacks",)}
"""Keys that say the same: a file that gives one of itself takes no other from the file that it is like."""


def read_family(path: Path) -> Family:
    """The family in the data file ``path``.

    Raises:
        EditError: the file is not JSON, a key is missing, unknown or of the wrong kind, or there is no file that it is
            like; the message names file and key.
    """
    return _family(path, _keys(path, MOST_LIKE))


def made_family(name: str, content: Mapping[str, object]) -> Family:
    """The family that a data file of this name and content would be, which is like no other.

    Raises:
        EditError: the content is none of a data file.
    """
    path = Path(f"{name}.json")
    if fault := first_error(content, SCHEMA):
        raise EditError(f"{path}: {fault}")
    return _family(path, dict(content))


def _family(path: Path, data: Mapping[str, Any]) -> Family:
    for key in (*NEEDED, *(() if "stacks" in data else ("layers", "matrices"))):
        if key not in data:
            raise EditError(f'{path}: the key "{key}" is missing')
    if "stacks" in data and (twice := [key for key in INSTEAD["stacks"] if key in data]):
        raise EditError(f'{path}: stacks: expected it in the place of "{twice[0]}", got both')
    stacks = cast("Mapping[str | None, Mapping[str, Any]]", data.get("stacks") or {None: data})
    found = {name: _stack(path, name, entry, data["weight_rows"]) for name, entry in stacks.items()}
    return Family(path.stem, tuple(data["model_types"]), data["kind"], found)


def _keys(path: Path, more: int) -> dict[str, Any]:
    """The keys of a file, with those that it takes from others.

    Args:
        path: the file.
        more: how many files it may be like.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EditError(f"{path}: not an architecture file: {error}") from None
    if fault := first_error(data, SCHEMA):
        raise EditError(f"{path}: {fault}")
    own: dict[str, Any] = data
    if "like" not in own:
        return own
    if not more:
        raise EditError(f"{path}: like: more than {MOST_LIKE} files, one like the other, or a circle of them")
    base = _keys(_like(path, own["like"]), more - 1)
    dropped = {other for key in own for other in INSTEAD.get(key, ())} | {"like"}
    return {key: value for key, value in base.items() if key not in dropped} | own


def _like(path: Path, name: str) -> Path:
    """The file of that name beside ``path``, or of those that come with cti-edits."""
    folders = (path.parent, SHIPPED)
    for folder in folders:
        if (found := folder / f"{name}.json").is_file():
            return found
    known = {one.stem for folder in folders for one in folder.glob("*.json")}
    near = difflib.get_close_matches(name, sorted(known), 3)
    raise EditError(
        f"{path}: like: there is no architecture file {printable(name)!r}"
        + (f", perhaps {' or '.join(map(repr, near))}" if near else "")
    )


def _stack(path: Path, name: str | None, entry: Mapping[str, Any], weight_rows: WeightRows) -> Stack:
    inside = "matrices" if name is None else f"stacks.{name}.matrices"
    matrices = {role: _places(value, weight_rows) for role, value in entry["matrices"].items()}
    seen: set[MatrixPlace] = set()
    for role, places in matrices.items():
        for place in places:
            if place in seen:
                raise EditError(f"{path}: {inside}.{role}: {place.module} is the place of another matrix, too")
            seen.add(place)
            if place.rows is not None and place.rows.part >= len(place.rows.shares):
                most = len(place.rows.shares) - 1
                raise EditError(
                    f"{path}: {inside}.{role}.rows.part: expected at most {most} (shares), got {place.rows.part}"
                )
    return Stack(entry["layers"], matrices)


def _places(value: Any, weight_rows: WeightRows) -> tuple[MatrixPlace, ...]:
    return tuple(_place(one, weight_rows) for one in (value if isinstance(value, list) else [value]))


def _place(value: str | Mapping[str, Any], weight_rows: WeightRows) -> MatrixPlace:
    entry: dict[str, Any] = {"module": value} if isinstance(value, str) else dict(value)
    if "rows" in entry:
        rows = entry["rows"]
        entry["rows"] = RowShares(tuple(rows["shares"]), rows["part"], rows.get("groups", 1))
    if "when" in entry:
        entry["when"] = tuple(sorted(entry["when"].items()))
    return MatrixPlace(**{"weight_rows": weight_rows, **entry})
