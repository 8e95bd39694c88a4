"""``cti-edits diff``, run as a command."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import run, run_here
from tests.support.edits import edit, entry


@pytest.mark.parametrize(("changes", "code"), [({"name": "other"}, 0), ({"edits": ()}, 1)])
def test_the_command_ends_with_1_when_another_edit_is_applied(
    changes: dict[str, Any], code: int, tmp_path: Path
) -> None:
    left = edit("one", entry())
    one, two = left.write(tmp_path / "a.json"), dataclasses.replace(left, **changes).write(tmp_path / "b.json")
    done = run_here("diff", one, two)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("what is applied: the same\n" if code == 0 else "what is applied  A ")
    same = run_here("diff", one, one)
    assert (same.returncode, same.stdout) == (0, "the same in every field\n")
    assert run_here("diff", one, tmp_path / "gone.json").returncode == 2


def test_nothing_from_a_manifest_reaches_the_terminal_unescaped_by_diff(tmp_path: Path) -> None:
    hostile = {"description": "\x1b[31m\u202e\n", "metadata": {"\x1b]0;t\x07": "\x1b"}}
    one = edit("one").write(tmp_path / "a.json")
    two = edit("one", **hostile).write(tmp_path / "b.json")
    done = run("diff", one, two)
    assert done.returncode == 0
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "\\u202e" in done.stdout
