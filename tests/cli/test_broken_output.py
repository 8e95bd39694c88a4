"""Commands whose output goes to a full device, or to a reader that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cti_edits.paths import folder

FEVER = str(folder("edits") / "gptj_fever.json")
COUNTERFACT = str(folder("edits") / "gptj_counterfact.json")
COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("--help",),
    ("search", "--help"),
    ("ls",),
    ("presets",),
    ("tasks-path",),
    ("show", FEVER),
    ("validate", FEVER),
    ("diff", FEVER, COUNTERFACT),
    ("cache", "ls"),
)
FULL = "cti-edits: error: cannot write the output: No space left on device\n"
EVERY = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def run(
    words: Sequence[str], unbuffered: str = "", stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cti_edits", *words],
        stdout=stdout,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        timeout=60,
        check=False,
    )


@EVERY
def test_a_full_device_is_one_line_and_exit_code_2(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(words, stdout=full.fileno())
    assert (done.returncode, done.stderr) == (2, FULL)


@EVERY
def test_a_reader_that_has_gone_is_no_error(words: tuple[str, ...]) -> None:
    done = run(words, stdout=closed_pipe())
    assert (done.returncode, done.stderr) == (141, "")


def test_the_same_without_a_buffer() -> None:
    with Path("/dev/full").open("w") as full:
        done = run(["ls"], "1", stdout=full.fileno())
    assert (done.returncode, done.stderr) == (2, FULL)
    done = run(["ls"], "1", stdout=closed_pipe())
    assert (done.returncode, done.stderr) == (141, "")


def test_a_shell_s_pipe_ends_quietly() -> None:
    command = f"set -o pipefail; '{sys.executable}' -m cti_edits ls | head -c 1 > /dev/null; echo $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout in ("0\n", "141\n")
    assert done.stderr == ""


def test_an_error_that_nobody_can_read_keeps_its_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        assert run(["show", "no/such.json"], stderr=full.fileno()).returncode == 2
    assert run(["show", "no/such.json"], stderr=closed_pipe()).returncode == 2


@pytest.mark.parametrize("words", [("ls",), ("show", FEVER), ("diff", FEVER, FEVER)], ids=" ".join)
def test_a_closed_output_takes_everything(words: tuple[str, ...]) -> None:
    command = " ".join(f"'{word}'" for word in (sys.executable, "-m", "cti_edits", *words))
    done = subprocess.run(["bash", "-c", f"{command} >&-"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def closed_pipe() -> int:
    """The end to write to of a pipe that nobody reads. It is the test's last and goes with the process."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes
