"""The file of a study, JSON Lines: its question, then each unit as soon as it is measured."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cti_edits.errors import MAX_SHOWN_PATH, EditError, WriteError, printable
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
            EditError: it has the figures of another question, or a line of it is damaged.
            WriteError: it cannot be written.
        """
        self.path = path
        self.records: dict[Key, Record] = {}
        self._shown = printable(path, MAX_SHOWN_PATH)
        kept = self._whole_lines()
        asked = json.loads(json.dumps(dataclasses.asdict(question)))
        if not kept:
            self._append(asked)
            return
        self._check(self._line(kept[0], 1), asked)
        named = {kind.NAME: kind for kind in kinds}
        for number, line in enumerate(kept[1:], start=2):
            record = self._record(self._line(line, number), number, named)
            if record.key in self.records:
                raise EditError(f"{self._shown}: line {number}: a unit that an earlier line has already")
            self.records[record.key] = record

    def append(self, record: Record) -> None:
        """Add a unit that was measured; it is on the disk when this returns.

        Raises:
            WriteError: it cannot be written.
        """
        self._append({UNIT: record.NAME, **dataclasses.asdict(record)})
        self.records[record.key] = record

    def _append(self, line: Mapping[str, object]) -> None:
        content = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self.path.open("ab") as file:
                file.write(content.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(f"{self._shown}: cannot write here: {error.strerror}") from None

    def _whole_lines(self) -> list[bytes]:
        """The lines that were written to their end; what comes after them is taken off the file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                file.seek(0)
                content = file.read()
                end = content.rfind(b"\n") + 1
                if end < len(content):
                    file.truncate(end)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            reason = getattr(error, "strerror", None) or error
            raise WriteError(f"{self._shown}: cannot write here: {printable(reason)}") from None
        return content[:end].splitlines()

    def _line(self, line: bytes, number: int) -> dict[str, object]:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EditError(f"{self._shown}: line {number}: expected a JSON object, got something else")
        return found

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
