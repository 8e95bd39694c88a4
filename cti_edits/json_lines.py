"""A file of JSON Lines that is only added to: each line is on the disk before what comes after it happens."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cti_edits.errors import MAX_SHOWN_PATH, EditError, WriteError, printable

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nobody is told of a second writer.
    fcntl = None  # type: ignore[assignment]


class HeldError(EditError):
    """Another process has the file open for writing."""


class JsonLines:
    """A file that this process alone adds lines to, until it is closed or the process ends, however it ends.

    A line that was cut off, since the process was killed or the disk was full while it was written, is taken off again.

    Attributes:
        path: where it is.
        lines: those that it had when it was opened, without their line feeds.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it; folders that are missing are created.

        Raises:
            HeldError: another process has it open.
            WriteError: it cannot be written.
        """
        self.path = path
        self._shown = printable(path, MAX_SHOWN_PATH)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            raise self._cannot_write(error) from None
        try:
            self._hold()
            self._file.seek(0)
            content = self._file.readall()
            end = content.rfind(b"\n") + 1
            if end < len(content):
                self._file.truncate(end)
        except OSError as error:
            self._file.close()
            raise self._cannot_write(error) from None
        except HeldError:
            self._file.close()
            raise
        self.lines = content[:end].splitlines()

    def append(self, *objects: Mapping[str, object]) -> None:
        """Add a line for each object; all of them are on the disk when this returns.

        Raises:
            WriteError: they cannot be written; the file is as it was, if that can be had.
        """
        content = "".join(json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in objects).encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[self._file.write(content) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise self._cannot_write(error) from None

    def close(self) -> None:
        """Let others write it."""
        self._file.close()

    def _hold(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(f"{self._shown}: another process writes to it") from None

    def _cannot_write(self, error: Exception) -> WriteError:
        reason = getattr(error, "strerror", None) or error
        return WriteError(f"{self._shown}: cannot write here: {printable(reason)}")


def objects_of(path: Path, lines: Iterable[bytes]) -> list[dict[str, object]]:
    """The objects of some lines of a file, from its first on.

    Raises:
        EditError: a line is no JSON object; the message names it.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            shown = printable(path, MAX_SHOWN_PATH)
            raise EditError(f"{shown}: line {number}: expected a JSON object, got something else")
        found.append(value)
    return found
