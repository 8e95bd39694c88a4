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


def on_a_terminal(code: str) -> str:
    """What a terminal gets, without what moves the cursor."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    read = b""
    while True:
        try:
            read += os.read(ours, 100_000)
        except OSError:
            break
    os.close(ours)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read.decode())


LEADS = (
    "from cti_edits.cli.progress import TerminalProgress\n"
    "progress = TerminalProgress()\n"
    "with progress.waiting('loading'):\n"
    "    pass\n"
    "with progress.phase('evaluations', 2) as advance:\n"
    "    advance(1); progress.leader('best so far 43.0 %')\n"
    "    advance(1); progress.leader('best so far \x1b[31m51.0 %')\n"
    "with progress.phase('test part', 1) as advance:\n"
    "    advance(1)\n"
)


def test_what_leads_stands_under_the_bar_of_its_phase() -> None:
    shown = on_a_terminal(LEADS)
    assert "loading …" in shown
    assert "best so far \\x1b[31m51.0 %" in shown
    assert shown.index("2/2") < shown.rindex("51.0 %") < shown.index("test part")


def test_elsewhere_nothing_is_said_of_waiting_and_what_leads_is_said_now_and_then(
    run_python: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_python("-c", LEADS)
    assert done.stderr == "evaluations: 2 of 2 in 0 s\ntest part: 1 of 1 in 0 s\n"
    monkeypatch.setattr(progress, "QUIET_INTERVAL", 0.0)
    progress.TerminalProgress().leader("best so far\n51.0 %")
    assert capsys.readouterr().err == "best so far\\n51.0 %\n"


BEGINS = """
import sys
from rich.console import Console
status, seen = Console.status, []
def noted(console, what, **named):
    seen.append((what, "torch" in sys.modules))
    return status(console, what, **named)
Console.status = noted
sys.argv = ["cti-edits", "search", "--task", "capitals", "--model", "no/where"]
from cti_edits.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, seen[0][1], [what for what, _ in seen])
"""


def test_something_moves_before_anything_heavy_is_imported() -> None:
    shown = on_a_terminal(BEGINS)
    assert "cannot load the model 'no/where'" in shown
    assert "2 False ['beginning …', 'loading torch, transformers and lm-eval …', " in shown
