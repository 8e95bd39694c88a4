"""Which rows of a task share a record: the questions about one fact, the answers to one question.

Such rows are not independent, and intervals that take them for it are too narrow. A task's file says by which field of
its rows, as ``record`` under ``metadata``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cti_edits.harness.task import Doc

KEY = "record"


def record_field(metadata: object) -> str | None:
    """The field whose values rows of one record have in common, from a task's ``metadata``; None if it names none."""
    found = metadata.get(KEY) if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def record_of(row: object, field: str) -> str | None:
    """The record of a row; None where it does not have the field."""
    if not isinstance(row, dict) or field not in row:
        return None
    return json.dumps(row[field], sort_keys=True, default=str)


def records_of(rows: Sequence[Doc], metadata: object) -> tuple[str, ...] | None:
    """The record of each row; None where every row is its own, or a row does not have the field."""
    field = record_field(metadata)
    if field is None:
        return None
    found = [record_of(row, field) for row in rows]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(found) > len(set(known)) else None
