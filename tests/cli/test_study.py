"""The command ``cti-edits study``, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import Run
from tests.support.command import started
from tests.support.refusals import refused_line

SMALL = ("--samples", "8", "--test-rows", "12", "--top-q", "1", "--rates", "0.5", "--device", "cpu")
PROGRAM = "from cti_edits.cli import main; main()"


def words(llama: Path, output: Path, *more: str) -> list[str]:
    return ["study", "scorers", "--task", "capitals", "--model", str(llama), "--output", str(output), *SMALL, *more]


def stopped(commands: Path, llama: Path, folder: Path, signalled: signal.Signals) -> tuple[int, str]:
    """The command, sent a signal when it has measured four units: its exit code, and what it says."""
    path = folder / "out" / "scorers.jsonl"
    with started(commands, PROGRAM, folder, *words(llama, folder / "out")) as (process, number):
        end = time.monotonic() + 60
        while not path.exists() or path.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < end
            time.sleep(0.002)
        os.kill(number, signalled)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_it_is_killed_and_goes_on_to_the_same_table(
    commands: Path, run_command: Run, llama: Path, tmp_path: Path
) -> None:
    stopped(commands, llama, tmp_path, signal.SIGKILL)
    path = tmp_path / "out" / "scorers.jsonl"
    before = path.read_bytes()
    again = run_command("cti-edits", *words(llama, tmp_path / "out"))
    assert again.returncode == 0, again.stderr
    done = before.count(b"\n") - 1
    assert f"{done} of 18 units are in {path} already" in again.stderr
    whole = run_command("cti-edits", *words(llama, tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    # Units that were there are not touched, and each is there once.
    assert path.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert path.read_bytes() == (tmp_path / "whole" / "scorers.jsonl").read_bytes()
    assert again.stdout.replace(str(tmp_path / "out"), str(tmp_path / "whole")) == whole.stdout
    assert again.stdout.splitlines()[-2:] == [f"wrote {path}", f"wrote {tmp_path / 'out' / 'scorers.svg'}"]
    lines = again.stdout.splitlines()
    assert lines[0].split()[:2] == ["scorer", "seed"]
    assert [line.split()[0] for line in lines[1:7]] == [
        "paper", "negated-paper", "sum-abs", "predicted-change", "sigma", "random",
    ]  # fmt: skip
    question = json.loads(before.splitlines()[0])
    assert (question["task"], question["model"]) == ("cti_capitals", str(llama))
    pictures = [(tmp_path / folder / "scorers.svg").read_bytes() for folder in ("out", "whole")]
    assert pictures[0] == pictures[1]
    assert ElementTree.fromstring(pictures[0]).findtext("{http://www.w3.org/2000/svg}title")


def test_ctrl_c_says_that_what_was_measured_is_there(commands: Path, llama: Path, tmp_path: Path) -> None:
    code, said = stopped(commands, llama, tmp_path, signal.SIGINT)
    assert code == 130
    path = tmp_path / "out" / "scorers.jsonl"
    assert said.splitlines()[-1] == f"interrupted; {path} has what is finished, and the same command goes on there"
    assert not (tmp_path / "out" / "scorers.svg").exists()


def test_another_question_is_refused_before_the_model_is_loaded(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scorers.jsonl"
    line = refused_line(words(llama, tmp_path, "--dtype", "none"), monkeypatch, capsys)
    assert line.startswith("cti-edits: error: --dtype: expected auto, float32")
    former = path.read_bytes()
    line = refused_line(words(llama, tmp_path, "--dtype", "none", "--seed", "3"), monkeypatch, capsys)
    difference = "seed is 0 there and 3 here"
    message = f"{path}: has the figures of another question: {difference}; name another folder (--output)"
    assert line == f"cti-edits: error: {message}"
    assert path.read_bytes() == former


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["scorer", "--task", "capitals"], "NAME: expected one of scorers, last, matrices, samples, sigma, clusters, "),
        (["sigma", "--task", "capitals", "--test-rows", "5"], "--test-rows: the study sigma measures on no held-out"),
        (["sigma", "--task", "capitals", "--seeds", "0"], "--seeds: expected 1 or more, got 0"),
        (["sigma", "--task", "capitals", "--clusters", "1,x"], "--clusters: expected whole numbers joined by commas"),
        (
            ["last", "--task", "capitals", "--matrices", "U_inn"],
            "--matrices: matrix: the llama family has no matrix 'U_inn'",
        ),
        (["sigma"], "Missing option '--task'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    given: Sequence[str],
    message: str,
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refused_line(["study", *given, "--model", str(llama), "--output", str(tmp_path)], monkeypatch, capsys)
    assert re.sub(r"\s+", " ", line).startswith(f"cti-edits: error: {message}")
    assert list(tmp_path.iterdir()) == []
