"""``cti-edits push``, against a hub on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cti_edits.artifact.manifest import BaseModel, load
from tests.support.hub_command import ONE, Command, refusal, with_factors
from tests.support.local_hub import TOKEN, LocalHub


def test_what_is_pushed_comes_back(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    source, content = with_factors(tmp_path / "source")
    done = command("push", source, "owner/name", "--license", "mit", HF_TOKEN=TOKEN)
    files = hub.files("owner/name", "main")
    assert files is not None, done
    assert set(files) == {"edit.json", "README.md", "f.safetensors"}
    commit = hub.branches["owner/name", "main"]
    assert done.stdout == f"owner/name: 3 files, commit {commit}, digest {load(source).digest()}\n"
    assert files["edit.json"] == source.read_bytes()
    assert files["f.safetensors"] == content
    assert "owner/name" not in hub.private
    assert command("pull", "owner/name", "-o", tmp_path / "back" / "edit.json").returncode == 0
    assert (tmp_path / "back" / "edit.json").read_bytes() == source.read_bytes()
    again = command("push", source.parent, "owner/name", "--private", HF_TOKEN=TOKEN)
    assert again.returncode == 0
    command("push", source, "owner/new", "--private", HF_TOKEN=TOKEN)
    assert "owner/new" in hub.private


def test_a_push_that_is_refused(command: Command, hub: LocalHub) -> None:
    for token in ({}, {"HF_TOKEN": "hf_bad"}):
        message = refusal(command("push", ONE, "owner/name", **token))
        assert message == "owner/name: the hub refuses the login; `hf auth login` sets a token that may do this"
    assert hub.commits == {}
    hub.commit("owner/name", {})
    hub.gated.add("owner/name")
    assert "the hub refuses access" in refusal(command("push", ONE, "owner/name", HF_TOKEN=TOKEN))
    hub.gated.clear()
    assert refusal(command("push", ONE, "owner/name", "--revision", "v2", HF_TOKEN=TOKEN)) == (
        "owner/name: the hub has no revision 'v2' of it"
    )
    for repository in ("name", "owner/name/x", "../x", "o/\x1bn"):
        assert refusal(command("push", ONE, repository)).startswith("OWNER/NAME: expected a hub id such as owner/name")


def test_a_dry_run_writes_the_folder_and_asks_nobody(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    source, _ = with_factors(tmp_path / "source")
    out = tmp_path / "out"
    done = command("push", source, "owner/name", "--dry-run", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(out / name) for name in ("edit.json", "README.md", "f.safetensors")]
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "edit.json", "f.safetensors"]
    assert hub.asked == []
    assert command("validate", out).returncode == 0


def test_an_edit_of_a_folder_needs_the_base_model_s_name_on_the_hub(command: Command, tmp_path: Path) -> None:
    base = BaseModel("/home/me/secret/model", None, "LlamaForCausalLM", None)
    mine = dataclasses.replace(load(ONE), base_model=base).write(tmp_path / "mine.json")
    message = refusal(command("push", mine, "owner/name", "--dry-run", tmp_path / "out"))
    assert message.startswith(f"{mine}: base_model.id: '/home/me/secret/model' is no hub id")
    assert not (tmp_path / "out").exists()
    words = ("--base-model", "owner/base", "--dry-run", tmp_path / "out")
    assert command("push", mine, "owner/name", *words).returncode == 0
    assert load(tmp_path / "out" / "edit.json").base_model.id == "owner/base"
    assert all(b"secret" not in path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert refusal(command("push", mine, "owner/name", "--base-model", "/x")).startswith(
        "--base-model: expected a hub id"
    )
