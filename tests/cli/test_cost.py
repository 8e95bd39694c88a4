"""``cti-edits cost``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from cti_edits.cli import app, main


def output(*words: str) -> str:
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that must end in one line on stderr and exit code 2, and returns the line."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cti-edits", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    return run


def test_the_example_of_the_paper() -> None:
    out = output("cost", "--preset", "cl-100g-100e", "--dataset-size", "65757", "--layers", "28")
    assert "93.4 times" in out
    rows = {line.split("  ")[0]: re.findall(r"[\d,]+", line) for line in out.splitlines()}
    assert rows["gradients"] == ["1,000", "250"]
    assert rows["candidates"] == ["18,000", "18,000"]
    assert rows["total"] == ["71,706", "25,414"]
    assert "With --test-rows none: 18,414 forward passes" in out
    assert "one gradient pass serves every K" in out
    assert "one gradient pass" not in output("cost", "--preset", "laser", "--dataset-size", "50", "--layers", "2")


def test_here_no_more_matrices_are_tried_than_there_are() -> None:
    rows = [
        line.split()
        for line in output("cost", *["--preset", "cl-100g-se", "--dataset-size", "60", "--layers", "3"]).splitlines()
    ]
    (candidates,) = [row for row in rows if row[:1] == ["candidates"]]
    # Seven of six; four K, nine rates, twelve validation rows.
    assert candidates[1:] == [f"{7 * 4 * 9 * 12:,}", f"{6 * 4 * 9 * 12:,}"]


@pytest.mark.parametrize("task", ["truthfulqa", "cti_truthfulqa"])
def test_a_task_of_the_paper_has_the_papers_size(task: str) -> None:
    out = output("cost", "--preset", "laser-100e", "--task", task, "--layers", "28")
    assert "5,882 rows" in out
    assert "10.9 times" in out


def test_a_masked_task_takes_the_masked_variant() -> None:
    words = ("cost", "--preset", "cl-100g-100e", "--layers", "12")
    assert "36.8 times" in output(*words, "--task", "counterfact_masked")
    assert "36.8 times" in output(*words, "--task", "counterfact", "--kind", "masked")
    assert "36.8 times" not in output(*words, "--task", "counterfact")


def test_any_other_task_is_counted() -> None:
    assert "185 rows" in output("cost", "--preset", "laser", "--task", "capitals", "--layers", "2")


def test_what_cannot_be_counted_is_refused_in_one_line(refused: Callable[..., str]) -> None:
    start = ("cost", "--preset", "laser", "--layers", "2")
    assert "either --task or --dataset-size" in refused(*start)
    assert "got both" in refused(*start, "--task", "fever", "--dataset-size", "3")
    assert "--dataset-size: expected 1" in refused(*start, "--dataset-size", "0")
    assert "--layers: expected 1" in refused("cost", "--preset", "laser", "--layers", "-1", "--dataset-size", "3")
    assert "--kind: expected one of causal, masked, seq2seq" in refused(*start, "--dataset-size", "3", "--kind", "both")
    unknown = refused("cost", "--preset", "cl-100g", "--layers", "2", "--dataset-size", "3")
    assert "did you mean cl-100g-se" in unknown


def test_directions_are_counted() -> None:
    step, fit = (
        output("cost", "--preset", name, "--dataset-size", "1000", "--layers", "28")
        for name in ("sigma-step", "sigma-fit")
    )
    assert "12 candidates" in step
    assert "fitting" not in step.lower()
    rows = {line.split("  ")[0]: re.findall(r"[\d,]+", line) for line in fit.splitlines()}
    assert (rows["gradients"], rows["fitting"], rows["candidates"]) == (["250"] * 2, ["7,800"] * 2, ["100"] * 2)
    assert fit.splitlines()[0].endswith(" 1 candidate")
    assert "Fitting is counted with all epochs, the most that it takes." in fit
    assert "every K" not in step + fit
