"""``cti-edits doctor``; tests/test_doctor.py has what is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cti_edits import doctor
from cti_edits.doctor import CHECKS
from tests.support.command import run_here

QUICK = {name: CHECKS[name] for name in ("versions", "benchmark rows")}


def test_findings_are_lines_and_what_is_broken_gives_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", QUICK)
    monkeypatch.delenv("CTI_EDITS_DATA", raising=False)
    done = run_here("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  torch: " in done.stdout
    monkeypatch.setenv("CTI_EDITS_DATA", str(tmp_path / "gone"))
    done = run_here("doctor")
    assert done.returncode == 1
    assert f"! benchmark rows: CTI_EDITS_DATA: no folder {tmp_path / 'gone'}\n    unset CTI_EDITS_DATA\n" in done.stdout


def test_json_has_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", QUICK)
    monkeypatch.delenv("CTI_EDITS_DATA", raising=False)
    lines = [json.loads(line) for line in run_here("doctor", "--json").stdout.splitlines()]
    assert {line["what"] for line in lines} >= {"cti-edits", "lm_eval", "torch", "benchmark rows"}
    assert all(set(line) == {"what", "state", "found", "remedy"} for line in lines)
