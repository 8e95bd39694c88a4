"""The files of the spectrum cache: within their limit, whoever writes, without counting them for every entry."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cti_edits.linalg import spectrum_files as module
from cti_edits.linalg.spectrum_files import BoundedFolder, EntryKey, entries

SIZE = 1000
LIMIT = 20 * SIZE


def key(number: int) -> EntryKey:
    return EntryKey(f"{number:064x}", "rows", 1, "spectra")


def put(folder: BoundedFolder, *numbers: int) -> None:
    for number in numbers:
        assert folder.store(key(number), bytes(SIZE))


def total(path: Path) -> int:
    return sum(entry.size for entry in entries(path))


def others_change(path: Path, change: Callable[[], object]) -> None:
    """Times of a folder may be as coarse as the kernel's ticks, of up to 10 ms."""
    time.sleep(0.02)
    change()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each count found."""
    found: list[int] = []

    def counted(folder: Path) -> list[module.Entry]:
        there = entries(folder)
        found.append(len(there))
        return there

    monkeypatch.setattr(module, "entries", counted)
    return found


def test_entries_are_counted_once_while_there_is_room(tmp_path: Path, counts: list[int]) -> None:
    put(BoundedFolder(tmp_path, LIMIT), 1, 2, 3)
    put(BoundedFolder(tmp_path, LIMIT), *range(4, 17))
    assert counts == [0, 3]


def test_a_full_folder_stays_within_the_limit(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path, LIMIT)
    for number in range(60):
        put(folder, number)
        assert total(tmp_path) == min(number + 1, 20) * SIZE


def test_what_others_stored_or_deleted_is_counted(tmp_path: Path, counts: list[int]) -> None:
    one, other = BoundedFolder(tmp_path, LIMIT), BoundedFolder(tmp_path, LIMIT)
    put(one, 0)
    others_change(tmp_path, lambda: put(other, *range(1, 20)))
    put(one, *range(30, 46))
    assert total(tmp_path) <= LIMIT
    others_change(tmp_path, lambda: module.clear(tmp_path))
    counts.clear()
    put(one, *range(50, 60))
    assert counts == [0]


def test_what_others_store_at_the_same_time_does_not_exceed_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's entry appears while this one writes the first, the middle or the last one."""
    write = module._write

    def meanwhile(path: Path, content: bytes) -> None:
        if path.name == key(at).file_name:
            write(path.with_name(key(99).file_name), bytes(2 * SIZE))
        write(path, content)

    monkeypatch.setattr(module, "_write", meanwhile)
    for at in (0, 10, 19):
        folder = BoundedFolder(tmp_path / str(at), LIMIT)
        for number in range(20):
            put(folder, number)
            assert total(folder.folder) <= LIMIT
