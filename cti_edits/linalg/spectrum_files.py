"""The files of the spectrum cache: their names, how much room they take, which of them go. Knows no tensors.

Processes share the folder without a lock: a file is whole as soon as it has its name, and may be gone at any moment.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cti_edits.errors import EditError, printable
from cti_edits.paths import cache_folder

LIMIT = 10 * 10**9
"""Bytes that the cache may take, unless `LIMIT_VARIABLE` says otherwise."""

LIMIT_VARIABLE = "CTI_EDITS_CACHE_LIMIT"
"""Environment variable with a number of bytes; 0 stores nothing."""

PRECISION = "float64"
"""What decompositions are computed and stored in."""

RESERVE = 1 / 8
"""Share of the limit; while so much is free, entries are stored without counting those that are there."""

STALE = 3600
"""Seconds after which a temporary file is taken for the remains of a process that was killed."""

_NAME = re.compile(r"([0-9a-f]{64})-(rows|columns)-k([1-9]\d{0,9})-([a-z]+\d*)-([a-z]+\d+)-1\.safetensors", re.ASCII)
_TEMPORARY = ".cti-edits-*.tmp"


@dataclass(frozen=True)
class EntryKey:
    """What an entry is of.

    Attributes:
        sha256: hash of the weight as it is stored, of `apply.tensor_sha256`.
        orientation: "rows" if the weight is the stored tensor, "columns" if it is that transposed: one hash may stand
            for both.
        clusters: K.
        kind: what is stored, "tails20" or "spectra".
        precision: name of the dtype.
    """

    sha256: str
    orientation: str
    clusters: int
    kind: str
    precision: str = PRECISION

    @property
    def file_name(self) -> str:
        """The name of the entry's file. The 1 is the version of what is in it."""
        return f"{self.sha256}-{self.orientation}-k{self.clusters}-{self.kind}-{self.precision}-1.safetensors"


@dataclass(frozen=True)
class Entry:
    """A file of the cache: what it is of, where it is, its bytes, and when it was last used (seconds, as mtime)."""

    key: EntryKey
    path: Path
    size: int
    used: float


def default_folder() -> Path:
    """``spectra`` in the cache folder."""
    return cache_folder() / "spectra"


def default_limit() -> int:
    """Bytes that the cache may take.

    Raises:
        EditError: the environment variable is no number of bytes.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise EditError(f"{LIMIT_VARIABLE}: expected a number of bytes, got {printable(text, 60)!r}")
    return int(text)


def entries(folder: Path) -> list[Entry]:
    """The cache's files in ``folder``, the one that was not used for longest first; none if it is not there.

    Raises:
        EditError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as names:
            files = [(file, match) for file in names if (match := _NAME.fullmatch(file.name))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EditError(f"{printable(folder)}: cannot read the cache: {error.strerror or error}") from None
    found = []
    for file, match in files:
        with contextlib.suppress(FileNotFoundError):
            if not file.is_file(follow_symlinks=False):
                continue
            status = file.stat(follow_symlinks=False)
            sha256, orientation, clusters, kind, precision = match.groups()
            key = EntryKey(sha256, orientation, int(clusters), kind, precision)
            found.append(Entry(key, folder / file.name, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path.name))


class BoundedFolder:
    """The cache's folder, as one process writes it: all files together stay within a limit.

    What is there is counted when the folder was changed by others, and wherever the limit is near, but not for every
    entry: a search stores hundreds, among thousands.

    Args:
        folder: made when something is stored.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._total = 0
        self._changed: int | None = None
        """When the folder was changed last, as far as ``_total`` knows."""

    def store(self, key: EntryKey, content: bytes) -> bool:
        """Put ``content`` into the cache, and so much out of it that all files together stay within the limit.

        Returns:
            Whether it is stored: content of more than the limit is not.

        Raises:
            EditError: the folder cannot be read.
            OSError: the file cannot be written.
        """
        if len(content) > self.limit:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self._is_known() and self._is_far_from_full(len(content))):
            self._make_room(self.limit - len(content))
        _write(self.folder / key.file_name, content)
        # The one that it may have replaced is counted, too, until the next count.
        self._total += len(content)
        self._changed = self.folder.stat().st_mtime_ns
        if not self._is_far_from_full(0):
            # Others may have written at the same time. What is new is used last and goes last.
            self._make_room(self.limit)
        return True

    def _is_known(self) -> bool:
        """Whether nobody else has put anything into the folder, or out of it, since it was counted."""
        return self._changed == self.folder.stat().st_mtime_ns

    def _is_far_from_full(self, more: int) -> bool:
        """Whether ``more`` bytes leave as much as others may write unnoticed, while this process writes an entry."""
        return self._total + more <= self.limit * (1 - RESERVE)

    def _make_room(self, limit: int) -> None:
        """Delete entries, those not used for longest first, until the others are within ``limit`` bytes."""
        _remove_stale(self.folder)
        # Before it is read: what others do meanwhile is to be seen later.
        self._changed = self.folder.stat().st_mtime_ns
        there = entries(self.folder)
        self._total = sum(entry.size for entry in there)
        for entry in there:
            if self._total <= limit:
                return
            entry.path.unlink(missing_ok=True)
            self._total -= entry.size


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(_TEMPORARY.replace("*", secrets.token_hex(8)))
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(_TEMPORARY):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - STALE:
                path.unlink(missing_ok=True)


def clear(folder: Path) -> list[Entry]:
    """Delete the cache's files in ``folder``, and no others.

    Returns:
        What was deleted.

    Raises:
        EditError: the folder cannot be read, or a file not be deleted.
    """
    there = entries(folder)
    _remove_stale(folder)
    for entry in there:
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise EditError(f"{printable(entry.path)}: cannot delete it: {error.strerror or error}") from None
    return there
