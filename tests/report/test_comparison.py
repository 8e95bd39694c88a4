"""What `cti-edits compare` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.cli.compare import compare
from cti_edits.report.comparison import verdict_text
from cti_edits.stats import Verdict
from tests.support.eval_runs import EIGHT_ANSWERS, write_run


def test_several_runs_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_run(tmp_path / "base", [0] * 8, targets=EIGHT_ANSWERS)
    edits = [{"name": name, "digest": name} for name in ("one", "two")]
    one = write_run(tmp_path / "one", [1] * 6 + [0] * 2, edit=edits[0], targets=EIGHT_ANSWERS)
    two = write_run(tmp_path / "two", [1] * 7 + [0], edit=edits[1], targets=EIGHT_ANSWERS)
    compare([base, one, two])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cti_fever: 8 examples, the same in all 3 runs"
    assert lines[1].split() == [
        "accuracy",
        "95",
        "%",
        "interval",
        "difference",
        "its",
        "interval",
        "McNemar",
        "p",
        "Holm",
        "p",
    ]
    assert [line.split("  ")[0] for line in lines[2:6]] == ["base model", "one", "two", "most frequent answer"]
    assert lines[3].endswith("0.0312  0.0312  better")
    assert "Holm p is corrected for their number" in lines[6]


def test_calibration_rows_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_run(tmp_path / "base", [1, 0], doc_hash="a" * 64)
    edit = {"name": "n", "digest": "d", "row_hashes": "a" * 12}
    compare([base, write_run(tmp_path / "edited", [1, 0], edit=edit, doc_hash="a" * 64)])
    assert "warning: 2 of these 2 examples are rows that the search of n saw" in capsys.readouterr().out


def test_a_narrow_terminal_loses_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_run(tmp_path / "base", [1, 0, 0, 0], task="[red]\x07")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    compare([base, base])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[red]\\x07: 4 examples, the same in both runs"
    assert lines[2:4] == [
        "base model              25.0 %  4.6 to 69.9 %",
        "with the edit           25.0 %  4.6 to 69.9 %",
    ]


def test_holms_p_decides_in_a_table_where_it_is_the_uncorrected_one_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The largest of several p-values stays as it is, and still has to be small."""
    base = write_run(tmp_path / "base", [0] * 8, targets=EIGHT_ANSWERS)
    one = write_run(tmp_path / "one", [1] * 5 + [0] * 3, targets=EIGHT_ANSWERS)
    two = write_run(tmp_path / "two", [1] * 8, targets=EIGHT_ANSWERS)
    compare([base, one, two])
    lines = capsys.readouterr().out.splitlines()
    assert "62.5 to" not in lines[3]
    assert lines[3].endswith("0.0625  0.0625  no evidence")
    assert lines[4].endswith("0.00781  0.0156  better")


def test_verdicts_in_a_sentence() -> None:
    assert verdict_text(Verdict("better", ""), "the edit") == "the edit helps on these examples."
    assert verdict_text(Verdict("worse", ""), "the edit") == "the edit hurts on these examples."
    said = verdict_text(Verdict("no evidence", "the interval holds zero"), "the edit")
    assert said == "no difference is shown: the interval holds zero."
    assert verdict_text(Verdict("collapsed", "it is all one"), "the edit") == "collapsed: it is all one."


def test_a_run_without_the_edit_after_one_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = write_run(tmp_path / "edited", [1] * 8, edit={"name": "one", "digest": "d"})
    base = write_run(tmp_path / "base", [0] * 8)
    compare([edited, base])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith(": leaving the edit out hurts on these examples.")
    assert lines[-1] == "edits: one, digest d and none"
