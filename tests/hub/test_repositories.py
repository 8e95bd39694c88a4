"""Sharing through the real client of the hub, against a server on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from cti_edits.artifact.manifest import load
from tests.support.hub_command import ONE, Command, refusal, with_factors
from tests.support.local_hub import TOKEN, LocalHub, local_hub


def test_every_command_reads_an_edit_of_the_hub(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("owner/name", {"edit.json": ONE.read_bytes(), "other.json": b"{}", "big.safetensors": b"0" * 1000})
    digest = load(ONE).digest()
    assert command("validate", "owner/name").stdout.endswith(f"digest {digest}\n")
    assert digest in command("show", "owner/name/edit.json").stdout
    assert command("diff", "owner/name", ONE).stdout == "the same in every field\n"
    assert not any("big.safetensors" in path for path in hub.asked)
    two = dataclasses.replace(load(ONE), edits=()).write(tmp_path / "two.json")
    assert command("compose", "owner/name@main", two, "-o", tmp_path / "both.json").returncode == 0
    hub.asked.clear()
    assert command("show", "owner/name", HF_HUB_OFFLINE="1").returncode == 0
    assert command("show", "owner/name/edit.json", HF_HUB_OFFLINE="1").returncode == 0
    assert hub.asked == []


def test_a_run_of_lm_eval_reads_an_edit_of_the_hub(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("owner/name", {"edit.json": ONE.read_bytes()})
    code = "from cti_edits.harness.edit_argument import read_edits; print(read_edits('owner/name').edit.digest())"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment = {**kept, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == load(ONE).digest()


def test_a_revision_that_changes_and_one_that_is_named(command: Command, hub: LocalHub) -> None:
    first = hub.commit("owner/name", {"edit.json": ONE.read_bytes()})
    old = load(ONE).digest()
    assert old in command("show", "owner/name").stdout
    other = dataclasses.replace(load(ONE), name="other")
    hub.commit("owner/name", {"edit.json": json.dumps(other.to_json()).encode()})
    assert other.digest() in command("show", "owner/name").stdout
    assert old in command("show", f"owner/name@{first}").stdout
    assert refusal(command("show", "owner/name@v9")) == "owner/name@v9: the hub has no revision 'v9' of it"


def test_what_the_hub_refuses_is_one_line(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("owner/name", {"a.json": b"{}", "b.json": b"{}"})
    hub.commit("owner/none", {"README.md": b""})
    hub.commit("owner/gated", {"edit.json": ONE.read_bytes()})
    hub.commit("owner/private", {"edit.json": ONE.read_bytes()})
    hub.commit("owner/wrong", {"edit.json": b'{"schema_version": 1, "\\u001b[31m": 1}'})
    hub.gated.add("owner/gated")
    hub.private.add("owner/private")
    assert refusal(command("show", "owner/name")) == (
        "owner/name: expected edit.json or one JSON file, found 2: a.json, b.json; name the one to read"
    )
    assert refusal(command("show", "owner/none")) == "owner/none: expected an edit manifest, a JSON file, found none"
    assert refusal(command("show", "owner/name/c.json")) == (
        "owner/name/c.json: the repository has no such file at this revision"
    )
    for file in ("", "/edit.json"):
        assert refusal(command("show", f"owner/gone{file}")) == (
            f"owner/gone{file}: the hub has no such repository, or the token may not see it; "
            "`hf auth login` sets a token"
        )
        assert refusal(command("show", f"owner/gated{file}")) == (
            f"owner/gated{file}: the hub refuses access: ask for it on the repository's page, or use another token"
        )
    assert "the token may not see it" in refusal(command("show", "owner/private", HF_TOKEN="hf_bad"))
    assert command("show", "owner/private", HF_TOKEN=TOKEN).returncode == 0
    assert 'unknown key "\\\\x1b[31m"' in refusal(command("show", "owner/wrong"))
    assert refusal(command("show", "owner/unseen", HF_HUB_OFFLINE="1")) == (
        "owner/unseen: not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    )
    assert refusal(command("show", "a--b/c")).endswith("a hub id such as owner/name")


def test_a_hub_that_is_not_there(command: Command, tmp_path: Path) -> None:
    with local_hub() as gone:
        address = gone.address
    message = refusal(command("show", "owner/name", HF_ENDPOINT=address))
    assert message.startswith("owner/name: the hub cannot be reached, or the connection was cut: ")


def test_a_connection_that_is_cut_leaves_nothing_behind(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("owner/name", {"edit.json": ONE.read_bytes()})
    hub.cut = 100
    message = refusal(command("pull", "owner/name/edit.json"))
    assert message.startswith("owner/name/edit.json: the hub cannot be reached, or the connection was cut: ")
    assert list((tmp_path / "here").iterdir()) == []
    hub.cut = 0
    assert command("pull", "owner/name/edit.json").returncode == 0


def test_an_edit_with_factors_is_read_from_real_files(hub: LocalHub, tmp_path: Path) -> None:
    """The cache keeps links, and nobody reads factors through one."""
    source, content = with_factors(tmp_path / "source")
    hub.commit("owner/name", {"edit.json": source.read_bytes(), "f.safetensors": content})
    code = """
from cti_edits.hub.references import manifest_path
for _ in range(2):
    path = manifest_path("owner/name")
    for one in (path, path.parent / "f.safetensors"):
        assert one.is_file() and not one.is_symlink()
    print((path.parent / "f.safetensors").read_text(), sorted(one.name for one in path.parent.iterdir()))
"""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment = {**kept, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "factors ['edit.json', 'f.safetensors']\n" * 2


def test_factors_that_are_not_the_manifest_s_are_not_pulled(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    source, _ = with_factors(tmp_path / "source")
    hub.commit("owner/name", {"edit.json": source.read_bytes(), "f.safetensors": b"another"})
    assert "expected the factor file that " in refusal(command("pull", "owner/name"))
    assert list((tmp_path / "here").iterdir()) == []
    hub.commit("owner/less", {"edit.json": source.read_bytes()})
    assert refusal(command("pull", "owner/less")) == "owner/less: the repository has no such file at this revision"
