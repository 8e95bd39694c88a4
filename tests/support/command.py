"""Runs ``cti-edits``: as a command of its own, in this process, or so that a test can kill it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
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


# The server of the commands may have been started by a script in the background, which ignores interrupts.
_KILLABLE = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
print(os.getpid(), flush=True)
"""


@contextlib.contextmanager
def started(commands: Path, program: str, folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program of Python as a fork of the server of the commands, and the number of its process, to send signals to.

    The process that stands for it ends with its exit code, or with 70 where it has none.

    Args:
        commands: see the fixture of that name.
        program: what it runs.
        folder: where its file is put.
        words: its arguments.
    """
    (folder / "program.py").write_text(_KILLABLE + program)
    command = [str(commands / "run-python-file"), str(folder / "program.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
