"""``cti-edits cache ls`` and ``cti-edits cache clear``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cti_edits.cli import app
from cti_edits.linalg.spectrum_files import EntryKey
from tests.conftest import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CTI_EDITS_CACHE_LIMIT", raising=False)
    return tmp_path / "cti-edits" / "spectra"


def cache(*words: str) -> str:
    result = CliRunner().invoke(app, ["cache", *words])
    assert result.exit_code == 0, result
    return result.stdout


def put(folder: Path, digit: str, clusters: int, kind: str, size: int, used: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / EntryKey(digit * 64, "rows", clusters, kind).file_name
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def test_entries_are_listed_by_last_use_with_the_total(folder: Path) -> None:
    put(folder, "a", 16, "tails20", 1_234_567, 1_700_000_000)
    put(folder, "b", 1, "spectra", 40_000, 1_600_000_000)
    (folder / "mine.txt").write_text("not an entry")
    lines = cache("ls").splitlines()
    assert lines[0].split() == ["tensor", "K", "kind", "precision", "size", "last", "use"]
    assert lines[1].split()[:6] == ["bbbbbbbbbbbb", "1", "spectra", "float64", "40", "kB"]
    assert lines[2].split()[:6] == ["aaaaaaaaaaaa", "16", "tails20", "float64", "1.23", "MB"]
    assert lines[1].split()[6].startswith("2020-09-1")
    assert lines[3] == f"2 entries, 1.27 MB of 10 GB in {folder}"
    assert len(lines) == 4


def test_an_empty_cache(folder: Path) -> None:
    assert cache("ls") == f"0 entries, 0 B of 10 GB in {folder}\n"
    assert cache("clear") == f"removed 0 entries, 0 B from {folder}\n"
    assert not folder.exists()


def test_clear_removes_its_own_files_alone(folder: Path) -> None:
    entry = put(folder, "a", 1, "spectra", 1500, 1_700_000_000)
    others = [
        folder / "model.safetensors",
        folder / entry.name.upper(),
        folder / f"{entry.name}.bak",
        folder / "sub" / entry.name,
        folder.parent / "SmolLM2-135M-Instruct" / "model.safetensors",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    link = folder / entry.name.replace("a", "c", 1)
    link.symlink_to(others[0])
    assert cache("clear") == f"removed 1 entry, 1.5 kB from {folder}\n"
    assert not entry.exists()
    assert link.is_symlink()
    assert all(path.read_text() == "mine" for path in others)


def test_the_limit_of_the_environment_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_EDITS_CACHE_LIMIT", "2000000")
    assert cache("ls") == f"0 entries, 0 B of 2 MB in {folder}\n"


@pytest.mark.parametrize("bad", ["ten", "-1", "1e9", "1.5", "\x1b[2J", "²"])
def test_a_limit_that_is_no_number_is_one_line(bad: str, run_python: Run) -> None:
    done = run_python("-m", "cti_edits", "cache", "ls", CTI_EDITS_CACHE_LIMIT=bad)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cti-edits: error: CTI_EDITS_CACHE_LIMIT: expected a number of bytes, got '")
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


def test_a_folder_that_cannot_be_read_is_one_line(folder: Path, run_python: Run) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    for word in ("ls", "clear"):
        done = run_python("-m", "cti_edits", "cache", word)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"cti-edits: error: {folder}: cannot read the cache: Not a directory\n"


def test_listing_needs_no_torch(folder: Path, run_python: Run) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from cti_edits.cli import app\n"
        "assert CliRunner().invoke(app, ['cache', 'ls']).exit_code == 0; print('torch' in sys.modules)"
    )
    assert run_python("-c", code).stdout == "False\n"


def test_the_bare_command_says_what_there_is(run_python: Run) -> None:
    done = run_python("-m", "cti_edits", "cache")
    assert done.returncode == 2
    assert "clear" in done.stdout
    assert done.stderr == ""
