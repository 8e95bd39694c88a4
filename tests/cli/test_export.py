"""``cti-edits export``, run as a command."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.paths import folder as shipped_folder
from tests.conftest import Run
from tests.support.command import run_here, started
from tests.support.edits import EDIT_2, directions_edit, edit_of
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model


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


def samples(folder: Path) -> list[Any]:
    """Of a run of lm_eval: each row's accuracy and log-likelihoods."""
    (file,) = folder.rglob("samples_cti_capitals_*.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row["acc"], [float(answer[0][0]) for answer in row["resps"]]) for row in rows]


def test_plain_lm_eval_with_the_adapter_answers_as_our_model_with_the_edit(run_command: Run, tmp_path: Path) -> None:
    # With peft=, lm-eval cuts the model's vocabulary to that of the tokenizer, which changes every answer.
    model = tiny_model("llama", vocab_size=len(byte_tokenizer()))
    base = save_checkpoint(tmp_path / "checkpoint", "llama", model)
    edit = edit_of(model, ("W_o", 0, 1, 0.8), base_id=str(base))
    directions = directions_edit(model, "U_in", 1, {(0, 0): 1.8, (1, 2): -1.0}, clusters=2)
    file = str(dataclasses.replace(edit, edits=(*edit.edits, directions)).write(tmp_path / "edit.json"))
    done = run_command("cti-edits", "export", file, "--format", "peft", "--out", "adapter")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "adapter: safetensors files 1, edited tensors 2, verified\n"
    found = {}
    for name, words in {
        "peft": ("hf", f"pretrained={base},peft={tmp_path / 'adapter'}"),
        "cti": ("cti", f"edit={file}"),
    }.items():
        done = run_command(
            *("lm_eval", "--model", words[0], "--model_args", words[1], "--tasks", "cti_capitals", "--limit", "12"),
            *("--include_path", str(shipped_folder("tasks")), "--device", "cpu", "--batch_size", "6"),
            *("--log_samples", "--output_path", str(tmp_path / name)),
        )
        assert done.returncode == 0, done.stderr
        found[name] = samples(tmp_path / name)
    assert [row[0] for row in found["peft"]] == [row[0] for row in found["cti"]]
    likelihoods = {name: torch.tensor([row[1] for row in rows]) for name, rows in found.items()}
    size = float(likelihoods["cti"].abs().max())
    assert float((likelihoods["peft"] - likelihoods["cti"]).abs().max()) <= 1e-5 * size


def test_an_adapter_that_cannot_be_is_refused_in_one_line(run_command: Run, tmp_path: Path, llama: Path) -> None:
    file = edit_of(tiny_model("llama"), ("U_in", 1, 1, 0.25), base_id=str(llama)).write(tmp_path / "edit.json")
    for words, expected in {
        ("peft",): "test: edits[0]: the difference from the base has rank 24, ",
        ("zip",): "--format: expected checkpoint, peft or every-eval-ever, got 'zip'\n",
    }.items():
        done = run_command("cti-edits", "export", str(file), "--out", "adapter", "--format", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert done.stderr.startswith(f"cti-edits: error: {expected}")
    done = run_command("cti-edits", "export", str(file), "--out", "adapter", "--format", "peft")
    assert done.stderr.endswith("; --format checkpoint exports it\n")
    assert not (tmp_path / "adapter").exists()


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


def test_results_are_exported_from_the_manifest_alone(tmp_path: Path) -> None:
    words = ["export", str(EDIT_2 / "every_part.json"), "--out", str(tmp_path / "out"), "--format", "every-eval-ever"]
    done = run_here(*words, "--repository", "someone/edited", "--model", "example/base")
    assert done.returncode == 0, done.stderr
    *paths, last = done.stdout.splitlines()
    assert len(paths) == 2
    assert all(Path(path).is_file() for path in paths)
    assert last == "of the base model and of the edited one; a manifest has no answers to single rows"
    for more, message in (
        (["--revision", "main"], "--revision: --format every-eval-ever reads the manifest alone"),
        ([], "--repository: every-eval-ever wants the owner/name of the edited model"),
    ):
        done = run_here(*words, *more)
        assert (done.returncode, done.stderr) == (2, f"cti-edits: error: {message}\n")
    done = run_here("export", words[1], "--out", str(tmp_path / "x"), "--repository", "a/b")
    message = "--repository: only together with --format every-eval-ever"
    assert (done.returncode, done.stderr) == (2, f"cti-edits: error: {message}\n")
