"""What the tests of sharing have in common: an edit to share, and what the command says of a refusal."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from cti_edits.artifact.manifest import load
from cti_edits.artifact.matrix_edits import Factors
from tests.support.edits import EDIT_1

ONE = EDIT_1 / "one_matrix.json"

Command = Callable[..., "subprocess.CompletedProcess[str]"]
"""``cti-edits`` with the local server as its hub; see the fixture `command`."""


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    return done.stderr.removeprefix("cti-edits: error: ").rstrip("\n")


def with_factors(folder: Path) -> tuple[Path, bytes]:
    """A manifest with a file of factors beside it."""
    content = b"factors"
    edit = load(ONE)
    factors = Factors("f.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "f.safetensors").write_bytes(content)
    edit = dataclasses.replace(edit, edits=(dataclasses.replace(edit.edits[0], factors=factors),))
    return edit.write(folder / "mine.json"), content
