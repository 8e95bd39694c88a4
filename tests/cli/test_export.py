"""``cti-edits export``, run as a command."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.command import started
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    tiny_model("gpt2").save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def test_the_command_exports_and_refuses_in_one_line(run_command: Run, tmp_path: Path, sharded: Path) -> None:
    file = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25), base_id=str(sharded)).write(tmp_path / "edit.json")
    done = run_command("cti-edits", "export", str(file), "--out", str(tmp_path / "target"))
    assert (done.returncode, done.stderr) == (0, "")
    count = len(list(sharded.glob("*.safetensors")))
    assert done.stdout == f"{tmp_path}/target: safetensors files {count}, edited tensors 1, verified\n"
    assert json.loads((tmp_path / "target" / "config.json").read_text())["model_type"] == "gpt2"
    done = run_command("cti-edits", "export", str(file), "--out", str(tmp_path / "target"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"cti-edits: error: {tmp_path}/target: expected a folder that is not there yet")
    model = tiny_model("gpt2", seed=1)
    other = edit_of(model, ("U_in", 1, 2, 0.25), base_id=str(sharded)).write(tmp_path / "other.json")
    words = ("export", str(other), "--out", str(tmp_path / "second"))
    done = run_command("cti-edits", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.endswith("; --no-verify exports it all the same\n")
    assert run_command("cti-edits", *words, "--no-verify").returncode == 0


SLOW = """
import sys, time
import cti_edits.models.export
from cti_edits.cli import main
copy = cti_edits.models.export.shutil.copyfile
def slow(*words):
    copy(*words)
    print(flush=True)
    time.sleep(0.05)
cti_edits.models.export.shutil.copyfile = slow
main()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_export_that_is_killed_leaves_no_target(
    how: signal.Signals, commands: Path, tmp_path: Path, sharded: Path
) -> None:
    file = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25), base_id=str(sharded)).write(tmp_path / "edit.json")
    words = ("export", str(file), "--out", str(tmp_path / "out" / "target"))
    with started(commands, SLOW, tmp_path, *words) as (process, number):
        assert process.stdout is not None
        process.stdout.readline()
        assert not (tmp_path / "out" / "target").exists()
        assert next((tmp_path / "out").iterdir(), None)
        time.sleep(0.02)
        os.kill(number, how)
        process.wait(60)
    assert process.returncode == (70 if how == signal.SIGKILL else 130)
    left = [path.name for path in (tmp_path / "out").iterdir()]
    # Nobody can clean up after SIGKILL; what it leaves is a hidden folder under another name.
    assert left == [] if how != signal.SIGKILL else [name[:11] for name in left] == [".cti-edits-"]
