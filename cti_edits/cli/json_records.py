"""The objects that commands print with ``--json``. The page docs/json.md is made of their docstrings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cti_edits.search.reproduction import Changed, Figure, Grade, Reproduction


@dataclass(frozen=True)
class Reproduced:
    """What came of a search that was run again.

    Attributes:
        grade: "bytes", "winner", "figures" or "not reproduced"; see cti-edits reproduce.
        recorded_digest: of the edit.
        found_digest: of what was found this time; null where nothing was run.
        changed: what is not as it was recorded: an object each with what, recorded and now.
        figures: accuracies that were measured both times: an object each with rows, model, n, recorded, ci95, now and
            within.
    """

    grade: Grade
    recorded_digest: str
    found_digest: str | None
    changed: tuple[Changed, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, digest: str, found: Reproduction) -> Reproduced:
        """The record of a reproduction of the edit with this digest."""
        return cls(
            found.grade, digest, None if found.edit is None else found.edit.digest(), found.changed, found.figures
        )


RECORDS: Mapping[str, type[object]] = {
    "reproduce": Reproduced,
}
"""What each command prints, by its words."""
