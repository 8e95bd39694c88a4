"""Each benchmark runs, on a small input: what it compares agrees, and it prints its ratio."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.devices.__main__ import DEVICES
from tests.conftest import ROOT, Run
from tests.support.small_searches import written

SCRIPTS = {path.stem: path for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "demo"}
SCRIPTS |= {path.parent.name: path for path in (ROOT / "benchmarks").glob("*/__main__.py")}
"""What ``python -m benchmarks.NAME`` runs, by its name."""
CAPITALS = ("--task", "capitals", "--samples", "10")
RUNS: dict[str, tuple[tuple[str, ...], str]] = {
    "apply": (("--rows", "96", "--columns", "64", "--repeats", "1"), r"ratio of the medians: [\d.]+"),
    "decompositions": (("--rows", "64", "--columns", "96", "--repeats", "1"), r"ratio of the medians: [\d.]+"),
    "devices": (
        (
            *("--tasks", "small_written", "--written", "small_written", "--samples", "4", "--rates", "0.2"),
            *("--rows", "64", "--columns", "96", "--repeats", "1"),
        ),
        r"\| disk \| spectra, the demo model \|.*\| computed \|.*\| [\d.]+ \(",
    ),
    "encoder_decoder": (("--samples", "5", "--small"), r"ratio, geometric mean over both stacks: [\d.]+"),
    "evaluation": (
        ("--tasks", "capitals", "--samples", "10", "--batch-sizes", "4,8", "--clusters", "2", "--repeats", "1"),
        r"same predictions for all of \d+ candidates(.|\n)*geometric mean over tasks and layers: [\d.]+",
    ),
    "factored_layer": (("--rows", "256", "--columns", "128", "--seconds", "0.05"), r"[\d.]+"),
    "gptj": (("--small",), r"the whole search: [\d.]+ s"),
    "growth": ((*CAPITALS[:2], "--samples", "5,10", "--rates", "1,2", "--repeats", "1"), r"layer: 0: [\d.]+ s, 1: "),
    "scoring": ((*CAPITALS, "--repeats", "1"), r"scores agree(.|\n)*ratio of the medians: [\d.]+"),
    "search": (
        (*CAPITALS, "--rates", "0.8,0.2", "--repeats", "1", "--laser-candidates", "2", "--laser-examples", "3"),
        r"same edit(.|\n)*ratio [\d.]+(.|\n)*LASER(.|\n)*ratio \d+(.|\n)*peak memory of the whole process: [\d.]+ GiB",
    ),
    "startup": (("--pairs", "2"), r"[\d.]+ ms"),
}
WITH_MODEL = {"devices", "encoder_decoder", "evaluation", "growth", "scoring", "search"}


def test_every_benchmark_is_run_here() -> None:
    assert set(RUNS) == set(SCRIPTS)


LONG = ("devices", "gptj")
"""Both put others together, which are run."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] if name in LONG else []) for name in RUNS]
)
def test_a_benchmark_runs_and_its_results_agree(name: str, llama: Path, run_command: Run, tmp_path: Path) -> None:
    words, expected = RUNS[name]
    if name in WITH_MODEL:
        words = (*words, "--model", str(llama))
    if name == "growth":
        words = (*words, "--picture", str(tmp_path / "growth.svg"))
    if name == "devices":
        written(tmp_path, "{max_gen_toks: 3}")
        words = (*words, "--include-path", str(tmp_path))
    done = run_command("run-python-file", str(SCRIPTS[name]), *words, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert re.search(expected, done.stdout), done.stdout
    if name == "growth":
        assert (tmp_path / "growth.svg").read_text(encoding="utf-8").startswith("<?xml")
    if name == "devices":
        assert {line.split(" | ")[0] for line in done.stdout.splitlines()} >= {f"| {device}" for device in DEVICES}
