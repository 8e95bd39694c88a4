"""The files of the spectrum cache: their names, how much room they take, and which are deleted. No tensors here.

Processes share the folder without a lock: a file is complete once it has its final name, and may be deleted at any
time.
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
"""Share of the limit. While more than this is free, an entry is stored without counting the files again."""

STALE = 3600
"""Age in seconds after which a temporary file is taken to be left over by a process that was killed."""

_NAME = re.compile(r"([0-9a-f]{64})-(rows|columns)-k([1-9]\d{0,9})-([a-z]+\d*)-([a-z]+\d+)-1\.safetensors", re.ASCII)
_TEMPORARY = ".cti-edits-*.tmp"


@dataclass(frozen=True)
class EntryKey:
    """What an entry is of.

    Attributes:
        sha256: `identity.tensor_sha256` of the weight as it is stored. orientation: "rows" if the weight is the stored
        tensor, "columns" if it is that transposed; the hash is the same. clusters: K. kind: what is stored, "tails20"
        or "spectra". precision: name of the dtype.
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
    """A file of the cache: its key, its path, its size in bytes, and when it was last used (mtime in seconds)."""

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
    """The cache's files in ``folder``, the least recently used first; none if there is no such folder.

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
    """The cache's folder, whose files together stay within a limit, as one process writes to it.

    The files are counted again when another process has changed the folder, and when the limit is near, but not for
    every entry: a search stores hundreds, among thousands.

    Args:
        folder: created when something is stored.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._total = 0
        self._changed: int | None = None
        """The folder's mtime in nanoseconds when ``_total`` was right."""

    def store(self, key: EntryKey, content: bytes) -> bool:
        """Store an entry, and delete the least recently used ones so that all files together stay within the limit.

        Returns:
            Whether it is stored: content larger than the limit is not.

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
        # A file that it replaced is still in the total, until the files are counted again.
        self._total += len(content)
        self._changed = self.folder.stat().st_mtime_ns
        if not self._is_far_from_full(0):
            # Others may have written at the same time. The new file is the most recently used, and deleted last.
            self._make_room(self.limit)
        return True

    def _is_known(self) -> bool:
        """Whether no other process has added or deleted a file since the last count."""
        return self._changed == self.folder.stat().st_mtime_ns

    def _is_far_from_full(self, more: int) -> bool:
        """Whether `RESERVE` is free after ``more`` bytes; others may use that up before this process notices."""
        return self._total + more <= self.limit * (1 - RESERVE)

    def _make_room(self, limit: int) -> None:
        """Delete entries, the least recently used first, until the others are within ``limit`` bytes."""
        _remove_stale(self.folder)
        # Taken before the files are counted, so that what others change meanwhile is noticed later.
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
        EditError: the folder cannot be read, or a file cannot be deleted.
    """
    there = entries(folder)
    _remove_stale(folder)
    for entry in there:
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise EditError(f"{printable(entry.path)}: cannot delete it: {error.strerror or error}") from None
    return there
