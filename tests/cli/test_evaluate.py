"""``cti-edits eval``, run as a command."""

from __future__ import annotations

import json
from pathlib import Path

from cti_edits.paths import folder
from tests.conftest import Run


def test_eval_is_lm_eval_with_our_tasks(llama: Path, run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(
        (folder("tasks") / "capitals" / "cti_capitals.yaml").read_text().replace("cti_capitals", "mine")
    )
    (tmp_path / "mine" / "rows.py").write_text((folder("tasks") / "capitals" / "rows.py").read_text())
    (tmp_path / "mine" / "capitals.jsonl").write_bytes((folder("tasks") / "capitals" / "capitals.jsonl").read_bytes())
    done = run_python(
        "-m", "cti_edits", "eval", "--model_args", f"pretrained={llama}", "--tasks", "cti_capitals,mine",
        "--limit", "3", "--device", "cpu", "--include_path", str(tmp_path / "mine"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "|cti_capitals|" in done.stdout
    assert "|mine " in done.stdout
    assert done.stdout.startswith("cti (")


def test_eval_keeps_the_include_path_of_a_config(llama: Path, run_python: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("rows.py", "capitals.jsonl"):
        (mine / name).write_bytes((folder("tasks") / "capitals" / name).read_bytes())
    yaml = (folder("tasks") / "capitals" / "cti_capitals.yaml").read_text()
    (mine / "mine.yaml").write_text(yaml.replace("cti_capitals", "mine"))
    config = {"tasks": ["mine"], "include_path": str(mine), "limit": 2, "model_args": {"pretrained": str(llama)}}
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    done = run_python("-m", "cti_edits", "eval", "--config", "run.yaml", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "|mine " in done.stdout
    assert "cti ({" in done.stdout
