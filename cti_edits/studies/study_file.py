"""The file of a study, JSON Lines: its question, then each unit as soon as it is measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable
from cti_edits.json_lines import JsonLines, objects_of
from cti_edits.studies.study import Key, Question, Record

UNIT = "unit"
"""The field that says of which kind a line is."""


class StudyFile:
    """A study's file, read; what is measured from now on is appended to it.

    A line that was cut off, since the process was killed while it wrote, is taken off again.

    Attributes:
        path: where it is.
        records: what was measured, by the units' keys.
    """

    def __init__(self, path: Path, question: Question, kinds: Sequence[type[Record]]) -> None:
        """Read the file, or begin it.

        Args:
            path: where it is, or will be; folders that are missing are created.
            question: what is asked.
            kinds: of units that it may have.

        Raises:
            EditError: it has the figures of another question, a line of it is damaged, or another process writes to it.
            WriteError: it cannot be written.
        """
        self.path = path
        self.records: dict[Key, Record] = {}
        self._shown = printable(path, MAX_SHOWN_PATH)
        self._file = JsonLines(path)
        kept = objects_of(path, self._file.lines)
        asked = json.loads(json.dumps(dataclasses.asdict(question)))
        if not kept:
            self._file.append(asked)
            return
        self._check(kept[0], asked)
        named = {kind.NAME: kind for kind in kinds}
        for number, line in enumerate(kept[1:], start=2):
            record = self._record(line, number, named)
            if record.key in self.records:
                raise EditError(f"{self._shown}: line {number}: a unit that an earlier line has already")
            self.records[record.key] = record

    def append(self, record: Record) -> None:
        """Add a unit that was measured; it is on the disk when this returns.

        Raises:
            WriteError: it cannot be written.
        """
        self._file.append({UNIT: record.NAME, **dataclasses.asdict(record)})
        self.records[record.key] = record

    def close(self) -> None:
        """Let others write it."""
        self._file.close()

    def _check(self, there: Mapping[str, object], asked: Mapping[str, object]) -> None:
        """Refuse the figures of another question.

        Raises:
            EditError: the message names every difference.
        """
        if there.keys() != asked.keys():
            raise EditError(f"{self._shown}: line 1: expected a study's question, got something else")
        differences = [
            f"{name} is {_shown(there[name])} there and {_shown(value)} here"
            for name, value in asked.items()
            if there[name] != value
        ]
        if differences:
            raise EditError(
                f"{self._shown}: has the figures of another question: {', '.join(differences)}; "
                "name another folder (output)"
            )

    def _record(self, line: dict[str, object], number: int, kinds: Mapping[str, type[Record]]) -> Record:
        kind = kinds.get(str(line.pop(UNIT, None)))
        fields = set() if kind is None else {one.name for one in dataclasses.fields(kind)}
        if kind is None or line.keys() != fields:
            raise EditError(f"{self._shown}: line {number}: expected a unit of this study, got something else")
        return kind(**line)


def _shown(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False).strip('"'))
