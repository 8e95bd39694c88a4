"""What a search log says at its end: the manifest, and what the search knew beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cti_edits.artifact.json_schema import first_error
from cti_edits.artifact.manifest import Edit, parse
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable
from cti_edits.json_lines import objects_of
from cti_edits.search.details import SearchDetails
from cti_edits.search.details_json import details_from_json, details_json
from cti_edits.search.search_log import SCHEMA


@dataclass(frozen=True)
class FinishedSearch:
    """The end of a search.

    Attributes:
        edit: what was found.
        details: what the search knew beside its manifest.
    """

    edit: Edit
    details: SearchDetails

    def to_json(self) -> dict[str, Any]:
        """For the log's line ``finished``."""
        return {"manifest": self.edit.to_json(), "details": details_json(self.details)}


def read_finished(path: Path) -> FinishedSearch:
    """The end of the search whose log is at ``path``. It is only read, by whoever else it is written meanwhile.

    Raises:
        EditError: it cannot be read, is no search log, or the search has not ended; the message says how far it is.
        ManifestError: the manifest in it is not valid.
    """
    shown = printable(path, MAX_SHOWN_PATH)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EditError(f"{shown}: cannot be read: {error.strerror}") from None
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    finished: Any = None
    number = evaluated = 0
    for place, line in enumerate(objects_of(path, lines), start=1):
        wrong = first_error(line, SCHEMA)
        if wrong is not None:
            raise EditError(f"{shown}: line {place}: {wrong}")
        if "asked" in line:
            finished = None
        elif "finished" in line:
            finished, number = line["finished"], place
        evaluated += line.get("step") == "evaluation"
    if finished is None:
        raise EditError(
            f"{shown}: the search has not ended, {evaluated:,} candidates are evaluated; the same command goes on, and "
            "with a time budget it ends with the best so far (time_budget)"
        )
    for key in ("manifest", "details"):
        if key not in finished:
            raise EditError(f"{shown}: line {number}: the key {json.dumps(key)} is missing")
    source = f"{path}: line {number}"
    edit = parse(json.dumps(finished["manifest"]).encode(), source)
    return FinishedSearch(edit, details_from_json(finished["details"], source))
