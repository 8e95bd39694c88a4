"""The ``lm_eval`` command with our model and tasks in place."""

from __future__ import annotations

import json
from pathlib import Path

from cti_edits.paths import folder
from tests.conftest import Run


def test_eval_keeps_the_include_path_of_a_config(llama: Path, run_command: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("rows.py", "capitals.jsonl"):
        (mine / name).write_bytes((folder("tasks") / "capitals" / name).read_bytes())
    yaml = (folder("tasks") / "capitals" / "cti_capitals.yaml").read_text()
    (mine / "mine.yaml").write_text(yaml.replace("cti_capitals", "mine"))
    config = {"tasks": ["mine"], "include_path": str(mine), "limit": 2, "model_args": {"pretrained": str(llama)}}
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    done = run_command("cti-edits", "eval", "--config", "run.yaml", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "|mine " in done.stdout
    assert "cti ({" in done.stdout
