"""``cti-edits pack`` and ``cti-edits unpack``."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.artifact.manifest import load
from tests.support.command import run_here
from tests.support.edits import recorded
from tests.support.tiny_models import save_checkpoint, tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture
def edit(base: Path, tmp_path: Path) -> Path:
    return recorded(base, ("U_in", 1, 2, 0.2), ("W_o", 0, 1, 0.1)).write(tmp_path / "edit.json")


def test_pack_verify_and_unpack(edit: Path) -> None:
    recipe = load(edit)
    done = run_here("pack", edit)
    target = edit.with_name("tiny.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{target}: {target.stat().st_size:,} bytes",
        f"{edit}: {edit.stat().st_size:,} bytes, digest {load(edit).digest()}",
    ]
    assert run_here("verify", edit).returncode == 0
    content = target.read_bytes()
    target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run_here("verify", edit)
    assert done.returncode == 1
    assert all("does not fit: tiny: edits[0].factors.sha256: " in line for line in done.stdout.splitlines())
    target.write_bytes(content)
    done = run_here("unpack", edit)
    assert done.stdout.splitlines()[0] == f"{target}: deleted"
    assert load(edit) == recipe
    assert not target.exists()


def test_a_folder_is_packed_and_unpacked_too(edit: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "alone" / "mine.json"
    load(edit).write(manifest)
    done = run_here("pack", manifest.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith(f"{manifest}: ")
    assert manifest.with_name("tiny.safetensors").exists()
    assert run_here("unpack", manifest.parent).returncode == 0
    assert load(manifest) == load(edit)
    assert not manifest.with_name("tiny.safetensors").exists()


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_an_edit_on_the_hub_is_to_be_pulled_before_it_is_packed(command: str) -> None:
    done = run_here(command, "someone/edits/fever.json@v1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "cti-edits: error: someone/edits/fever.json@v1 is on the hub, and this writes beside the manifest; "
        "get it first: cti-edits pull someone/edits/fever.json@v1\n"
    )


def test_pack_refuses_in_one_line(edit: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other", "gpt2", tiny_model("gpt2", seed=1))
    done = run_here("pack", edit, "--model", tmp_path / "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cti-edits: error: tiny: transformer.h.1.mlp.c_fc: ")
    assert done.stderr.count("\n") == 1
