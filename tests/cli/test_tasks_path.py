"""``cti-edits tasks-path``."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from cti_edits.cli import app


def test_it_prints_the_folder_of_the_tasks_alone() -> None:
    done = CliRunner().invoke(app, ["tasks-path"])
    assert (done.exit_code, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert Path(line).is_absolute()
    assert (Path(line) / "fever" / "cti_fever.yaml").is_file()
