from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from cti_edits.cli import progress
from tests.conftest import Run

CODE = (
    "from cti_edits.cli.progress import TerminalProgress\n"
    "with TerminalProgress().phase('scores', 3) as advance:\n"
    "    advance(1); advance(2)\n"
)


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", CODE], stderr=theirs, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(ours, 100_000).decode())
    os.close(ours)
    assert "scores" in shown
    assert "3/3" in shown
    assert "left" in shown


def test_elsewhere_there_is_a_line_a_phase(run_python: Run) -> None:
    done = run_python("-c", CODE)
    assert done.stderr == "scores: 3 of 3 in 0 s\n"
    assert done.stdout == ""


def test_a_long_phase_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "QUIET_INTERVAL", 0.0)
    with progress.TerminalProgress().phase("evaluations", 4) as advance:
        advance(1)
        advance(3)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"evaluations: 1 of 4, about \d+ s left", first)
    assert re.fullmatch(r"evaluations: 4 of 4 in \d+ s", last)
