"""In which fields two edits differ: first those that say what is applied, then the rest. Knows manifests alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import matrix_edit_of
from cti_edits.errors import printable

ABSENT = "not there"
SHOWN = 60
"""Characters of a value."""

NOT_APPLIED = ("rho", "sigma", "tensor", "frobenius_norm", "retained_energy", "tied_blocks",
               "factors.file", "factors.size")  # fmt: skip
"""Fields of a matrix edit that change no weight: ρ was asked for, the block ranks are what is applied; and σ is what
the base is known by."""


@dataclass(frozen=True)
class Difference:
    """A field in which two edits differ.

    Attributes:
        field: as people write it, with a matrix edit named by its matrix and layer: ``edits[U_in 3].block_ranks``.
        left: the first edit's value as JSON text; "not there" if it has none.
        right: the second one's.
        applied: whether the two edits do something else to a model by it.
    """

    field: str
    left: str
    right: str
    applied: bool


def differences(left: Edit, right: Edit, whole: bool = False) -> list[Difference]:
    """Every field in which two edits differ; those that say what is applied come first.

    The order of matrix edits changes nothing, so that they are paired by the matrix that they are of.

    Args:
        left: an edit.
        right: another one.
        whole: do not cut long values.

    Raises:
        ManifestError: an edit holds a value that JSON has not.
    """
    one, other = left.newest_json(), right.newest_json()
    found: list[Difference] = []
    found.extend(_compare("base_model", one.pop("base_model"), other.pop("base_model"), True, whole))
    matrices, theirs = _by_place(one.pop("edits")), _by_place(other.pop("edits"))
    for place in [*matrices, *(place for place in theirs if place not in matrices)]:
        here, there = matrices.get(place), theirs.get(place)
        where = f"edits[{place}]"
        if here is None or there is None:
            found.append(Difference(where, _summary(here), _summary(there), applied=True))
            continue
        for difference in _compare(where, here, there, True, whole):
            inside = difference.field.removeprefix(f"{where}.")
            found.append(
                Difference(difference.field, difference.left, difference.right, applied=inside not in NOT_APPLIED)
            )
    for key in one:
        found.extend(_compare(key, one[key], other[key], False, whole))
    return sorted(found, key=lambda difference: not difference.applied)


def _by_place(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {matrix_edit_of(entry).id.short: entry for entry in entries}


def _summary(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ABSENT
    one = matrix_edit_of(entry)
    return f"{one.module}, {one.summary}"


def _compare(field: str, left: Any, right: Any, applied: bool, whole: bool) -> Iterator[Difference]:
    """Objects key by key; anything else whole."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            if key in left and key in right:
                yield from _compare(f"{field}.{key}", left[key], right[key], applied, whole)
            else:
                here, there = (_json(side[key]) if key in side else ABSENT for side in (left, right))
                yield Difference(f"{field}.{key}", *_cut(here, there, whole), applied=applied)
    elif _json(left) != _json(right):
        yield Difference(field, *_cut(_json(left), _json(right), whole), applied=applied)


def _json(value: Any) -> str:
    # Numbers of one value are one number however they are written, as in the digest.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(left: str, right: str, whole: bool) -> tuple[str, str]:
    """Both texts around the first place where they differ, if one of them is long and ``whole`` is not asked for."""
    if whole or max(len(left), len(right)) <= SHOWN:
        return left, right
    same = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    start = max(0, same - SHOWN // 3)
    return tuple(("…" if start else "") + printable(text[start:], SHOWN) for text in (left, right))  # type: ignore[return-value]
