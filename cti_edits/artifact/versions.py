"""The versions of the manifest: from each older one to the next, and back where nothing newer is said.

Pure functions of JSON documents that their version's schema allows. A manifest is written in the oldest version that
can say what it says, so that its digest is the same whichever version it was read from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cti_edits.artifact.matrix_edits import NOT_IN_1

NEWEST = 2
OLDEST = 1

ONLY_METHOD_OF_1 = "block-svd"

NEW_IN_2 = (
    "stack",
    "method",
    "scorer",
    "selector",
    "directions",
    "drops",
    "epochs",
    "confirm",
    "max_kl",
    "time_budget",
    "partition",
    "compose",
    "parts",
)
"""Keys of ``search`` that version 1 has not. Nor has it a search that tried no ``rates``."""


def to_2(document: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 as version 2: the method stands at each matrix edit."""
    found = {key: value for key, value in document.items() if key != "method"}
    found["schema_version"] = 2
    found["edits"] = [{"method": document["method"], **entry} for entry in document["edits"]]
    return found


def fits_1(document: Mapping[str, Any]) -> bool:
    """Whether version 1 can say what a document of version 2 says."""
    search = document["search"]
    if search is not None and (not search["rates"] or any(key in search for key in NEW_IN_2)):
        return False
    return all(
        entry["method"] == ONLY_METHOD_OF_1 and not any(key in entry for key in NOT_IN_1) for entry in document["edits"]
    )


def to_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """Version 2 as version 1, for a document for which `fits_1` is true."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if key == "base_model":
            found["method"] = ONLY_METHOD_OF_1
        found[key] = value
    found["schema_version"] = 1
    found["edits"] = [{key: one for key, one in entry.items() if key != "method"} for entry in document["edits"]]
    return found


MIGRATIONS: dict[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {1: to_2}
"""From an older schema_version n: a pure function to version n + 1."""
