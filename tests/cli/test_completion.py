"""What a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cti_edits.cli.completion import edits, presets, tasks
from tests.support.command import COMMAND

REPORTS_TORCH = "import atexit; atexit.register(lambda: sys.stderr.write(str('torch' in sys.modules))); "


def test_tasks_with_and_without_their_prefix() -> None:
    assert tasks("fev") == ["fever", "fever_masked"]
    assert tasks("cti_capitals") == ["cti_capitals"]
    assert {"counterfact", "cti_counterfact"} <= set(tasks(""))
    assert tasks("nothing") == []


def test_presets() -> None:
    assert presets("sigma") == ["sigma-step", "sigma-fit"]
    assert len(presets("")) > 9


def test_edits_are_json_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("mine.json", "mine.txt", "mine/inner.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    assert edits("mi") == ["mine/", "mine.json"]
    assert edits("mine/") == ["mine/inner.json"]
    assert edits("gone/mi") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [("cti-edits search --task fe", "fever\nfever_masked"), ("cti-edits verify mi", "mine.json")],
)
def test_bash_is_answered_without_torch(words: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    program = f"import sys; sys.argv = ['cti-edits']; {REPORTS_TORCH}{COMMAND[2]}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "_CTI_EDITS_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip().endswith(expected)
    assert done.stderr == "False"
