"""The command ``cti-edits search`` with a log of what is finished."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.artifact.manifest import load
from cti_edits.errors import MachineError
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.search.search_log import SearchLog, log_path
from tests.conftest import Run
from tests.support.command import run_here
from tests.support.pages_of_html import read

WORDS = ("--samples", "6", "--top-q", "1", "--clusters", "1", "--rates", "0.5,0.1", "--test-rows", "6")
"""Of the candidates, none is better than the base at the start."""


def search(run: Run, llama: Path, output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(
        "cti-edits", "search", "--task", "capitals", "--model", str(llama), "--output", str(output), "--device", "cpu",
        "--guard", "none", *WORDS, *words,
    )  # fmt: skip


def manifest(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    found.pop("provenance")
    return found


def evaluated(log: Path) -> list[str]:
    steps = (json.loads(line) for line in log.read_text().splitlines())
    return [json.dumps(step["of"]) for step in steps if step.get("step") == "evaluation"]


def test_a_finished_search_is_widened_and_nothing_is_evaluated_again(
    run_command: Run, llama: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "edit.json", tmp_path / "edit.search.jsonl"
    assert search(run_command, llama, output).returncode == 0
    first, written = evaluated(log), log.read_bytes()
    assert len(first) >= 2
    # The same command: everything is there.
    former = manifest(output)
    done = search(run_command, llama, output)
    assert done.returncode == 0
    finished = written.count(b'{"step"')
    assert f"goes on where it stopped: {finished} steps are in {log}" in done.stderr
    assert manifest(output) == former
    assert log.read_bytes() == written
    # Another one is refused, in a line, and changes nothing.
    wider = ("--rates", "0.9,0.5,0.1", "--clusters", "1,2")
    done = search(run_command, llama, output, *wider)
    assert done.returncode == 2
    differences = "settings.clusters: 1 there, 1, 2 here; settings.rates: 0.5, 0.1 there, 0.9, 0.5, 0.1 here"
    refused = f"cti-edits: error: {log} is of another search ({differences}); widen that search (--extend)"
    assert done.stderr.splitlines()[-1] == refused
    assert (manifest(output), log.read_bytes()) == (former, written)
    # Widened, it ends as one that was asked for as much at once.
    assert search(run_command, llama, output, *wider, "--extend").returncode == 0
    whole = tmp_path / "whole.json"
    assert search(run_command, llama, whole, *wider).returncode == 0
    assert manifest(output) == manifest(whole)
    after = evaluated(log)
    assert after[: len(first)] == first
    assert len(set(after)) == len(after)
    # Begun anew, the old log has another name.
    assert search(run_command, llama, output, "--fresh").returncode == 0
    assert manifest(output) == former
    assert evaluated(tmp_path / "edit.search.1.jsonl") == after


def test_a_search_without_time_is_marked_and_goes_on(run_command: Run, llama: Path, tmp_path: Path) -> None:
    output, whole = tmp_path / "edit.json", tmp_path / "whole.json"
    done = search(run_command, llama, output, "--time-budget", "0.001s")
    assert done.returncode == 0
    assert "Cut short after 0.001 s: what was left might have won." in done.stdout
    cut = load(output)
    assert cut.search is not None
    assert (cut.search.time_budget, cut.search.candidates, cut.edits) == (0.001, 1, ())
    assert "cut short" in run_command("cti-edits", "show", str(output)).stdout
    assert search(run_command, llama, output).returncode == 0
    assert search(run_command, llama, whole).returncode == 0
    assert manifest(output) == manifest(whole)
    assert "time_budget" not in manifest(output)["search"]


def test_a_page_is_made_of_the_log(run_command: Run, llama: Path, tmp_path: Path) -> None:
    output = tmp_path / "edit.json"
    assert search(run_command, llama, output).returncode == 0
    again = tmp_path / "again.html"
    done = run_command("cti-edits", "report", str(tmp_path / "edit.search.jsonl"), "-o", str(again))
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == (tmp_path / "edit.html").read_bytes()
    assert read(again.read_text("utf-8")).figures


def test_a_log_that_cannot_be_written(run_command: Run, llama: Path, tmp_path: Path) -> None:
    output, log = tmp_path / "edit.json", tmp_path / "edit.search.jsonl"
    log.mkdir()
    done = search(run_command, llama, output)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"cti-edits: error: {log}: cannot write here: Is a directory"
    log.rmdir()
    with SearchLog(log):
        done = search(run_command, llama, output)
        assert done.returncode == 2
        held = f"cti-edits: error: {log}: another process writes to it: process {os.getpid()} on "
        assert done.stderr.splitlines()[-1].startswith(held)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--time-budget", "soon"], "--time-budget: expected a time such as 90s, 10m or 1.5h, got 'soon'"),
        (["--extend", "--fresh"], "--extend: expected it or a search that begins anew, got both (--fresh)"),
    ],
)
def test_what_cannot_be_asked_for(
    words: list[str], message: str, run_command: Run, llama: Path, tmp_path: Path
) -> None:
    done = search(run_command, llama, tmp_path / "edit.json", *words)
    assert (done.returncode, done.stderr) == (2, f"cti-edits: error: {message}\n")
    assert list(tmp_path.iterdir()) == []


# What stops a search on its way.


def words(llama: Path, output: Path) -> list[str]:
    return [
        *("search", "--task", "capitals", "--model", str(llama), "--output", str(output), "--device", "cpu"),
        *("--guard", "none", "--no-report", *WORDS),
    ]


@pytest.fixture(scope="module")
def unstopped(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nothing stops."""
    output = tmp_path_factory.mktemp("whole") / "edit.json"
    assert run_here(*words(llama, output)).returncode == 0
    return output


@pytest.fixture
def whole(unstopped: Path) -> dict[str, Any]:
    """Its manifest."""
    return manifest(unstopped)


def stopped(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cti-edits: error: ")
    assert message in last
    assert "Traceback" not in done.stderr


def goes_on(llama: Path, output: Path, whole: dict[str, Any]) -> None:
    assert not output.exists()
    before = evaluated(log_path(output))
    done = run_here(*words(llama, output))
    assert (done.returncode, manifest(output)) == (0, whole)
    assert evaluated(log_path(output))[: len(before)] == before


def test_a_disk_that_is_full(llama: Path, tmp_path: Path, unstopped: Path, whole: dict[str, Any]) -> None:
    output = tmp_path / "edit.json"
    content = log_path(unstopped).read_bytes()
    first = content.index(b"\n", content.index(b'{"step": "evaluation"'))
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (first + 60, former[1]))
    try:
        done = run_here(*words(llama, output))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    stopped(done, 2, f"{log_path(output)}: cannot write here: File too large")
    assert evaluated(log_path(output))
    goes_on(llama, output, whole)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            "the memory is exhausted (CUDA out of",
        ),
        (RuntimeError("CUDA error: unspecified launch failure\nmore"), "the device gave out (CUDA error: unspecified "),
        (MachineError("the memory of cpu does not hold one example"), "the memory of cpu does not hold one example"),
    ],
)
def test_a_machine_that_gives_out(
    error: Exception, message: str, llama: Path, tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, calls = tmp_path / "edit.json", itertools.count()
    evaluate = ReplayEvaluator.evaluate

    def fails(evaluator: ReplayEvaluator, *arguments: Any) -> Any:
        if next(calls) == 2:
            raise error
        return evaluate(evaluator, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ReplayEvaluator, "evaluate", fails)
        done = run_here(*words(llama, output))
    stopped(done, 3, message)
    assert done.stderr.rstrip().endswith(
        f"; {log_path(output)} has what is finished, and the same command goes on there"
    )
    assert len(evaluated(log_path(output))) == 1
    goes_on(llama, output, whole)
