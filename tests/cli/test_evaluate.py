"""``cti-edits eval``, run as a command."""

from __future__ import annotations

from pathlib import Path

from cti_edits.paths import folder
from tests.conftest import Run


def test_eval_is_lm_eval_with_our_tasks(llama: Path, run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(
        (folder("tasks") / "capitals" / "cti_capitals.yaml").read_text().replace("cti_capitals", "mine")
    )
    (tmp_path / "mine" / "rows.py").write_text((folder("tasks") / "capitals" / "rows.py").read_text())
    (tmp_path / "mine" / "capitals.jsonl").write_bytes((folder("tasks") / "capitals" / "capitals.jsonl").read_bytes())
    done = run_command(
        "cti-edits", "eval", "--model_args", f"pretrained={llama}", "--tasks", "cti_capitals,mine",
        "--limit", "3", "--device", "cpu", "--include_path", str(tmp_path / "mine"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "|cti_capitals|" in done.stdout
    assert "|mine " in done.stdout
    assert done.stdout.startswith("cti (")
