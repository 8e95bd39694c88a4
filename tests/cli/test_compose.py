"""``cti-edits compose``, run as a command."""

from __future__ import annotations

from pathlib import Path

from cti_edits.artifact.manifest import load
from tests.support.command import run
from tests.support.edits import edit, entry


def test_the_command_composes_and_refuses_in_one_line(tmp_path: Path) -> None:
    one = edit("one", entry()).write(tmp_path / "one.json")
    two = edit("two", entry("W_q")).write(tmp_path / "two.json")
    done = run("compose", one, two, "-o", tmp_path / "both.json")
    digest = load(tmp_path / "both.json").digest()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/both.json: one-and-two, 2 matrices, digest {digest}\n"
    again = run("compose", two, one, "-o", tmp_path / "again.json", "--name", "one-and-two")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "both.json").read_bytes(), again
    done = run("compose", one, one, "-o", tmp_path / "twice.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cti-edits: error: {one} and {one}: both edit U_in of layer 0")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "twice.json").exists()
