"""Runs ``cti-edits``: as a command of its own, or in this process."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cti_edits.cli import main

COMMAND = [sys.executable, "-c", "from cti_edits.cli import main; main()"]


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command with an environment of its own, and what it imports."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, **environment},
    )


def run_here(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in this process: importing torch anew for each would take most of the time."""
    command, out, err = ["cti-edits", *map(str, words)], io.StringIO(), io.StringIO()
    former, sys.argv = sys.argv, command
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = former
    return subprocess.CompletedProcess(command, int(ended.value.code or 0), out.getvalue(), err.getvalue())
