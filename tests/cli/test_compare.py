"""``cti-edits compare``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import run_here
from tests.support.eval_runs import EDIT, write_run

NO_DIFFERENCE = "no difference is shown: the interval holds zero."


def test_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    base = write_run(tmp_path / "base", [1, 0, 0, 0])
    edited = write_run(tmp_path / "edited", [1, 1, 0, 0], edit=EDIT)
    done = run_here("compare", base, edited)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cti_fever: 4 examples, the same in both runs",
        "                      accuracy   95 % interval",
        "base model              25.0 %   4.6 to 69.9 %",
        "with the edit           50.0 %  15.0 to 85.0 %",
        "most frequent answer    75.0 %",
        f"difference +25.0 points, 95 % interval -32.0 to +65.5, exact McNemar p = 1: {NO_DIFFERENCE}",
        "edit: n\\x1b[31m, digest d",
    ]
    wrong = run_here("compare", base, tmp_path / "nowhere")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


def test_the_command_says_that_no_edit_is_named(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0])
    done = run_here("compare", base, base)
    assert done.returncode == 0, done.stderr
    assert "edit: none is named by the results of the second run. That is so for an edited checkpoint" in done.stdout


def test_a_difference_is_refused_with_the_flag_that_allows_it(tmp_path: Path) -> None:
    base = write_run(tmp_path / "base", [1, 0], results={"n-shot": {"cti_fever": 0}})
    other = write_run(tmp_path / "other", [1, 1], edit=EDIT, results={"n-shot": {"cti_fever": 2}})
    words = ("compare", base, other)
    done = run_here(*words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "num_fewshot: 0 and 2; run both alike, or compare all the same with --allow-different num_fewshot" in (
        done.stderr
    )
    allowed = run_here(*words, "--allow-different", "num_fewshot")
    assert allowed.returncode == 0, allowed.stderr
    assert "asked differently (with the edit): num_fewshot: 0 and 2; this is not about the edit alone" in allowed.stdout
    mistyped = run_here(*words, "--allow-different", "num_fewshots")
    assert mistyped.returncode == 2
    assert "no field is called 'num_fewshots'; did you mean num_fewshot" in mistyped.stderr
