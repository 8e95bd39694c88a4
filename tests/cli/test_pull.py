"""``cti-edits pull``, against a hub on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from cti_edits.artifact.manifest import load
from tests.support.hub_command import Command, refusal, with_factors
from tests.support.local_hub import LocalHub


def test_pull_copies_the_manifest_byte_for_byte_and_its_factors(
    command: Command, hub: LocalHub, tmp_path: Path
) -> None:
    source, content = with_factors(tmp_path / "source")
    odd = json.dumps(json.loads(source.read_bytes())).encode() + b"\n\n"
    hub.commit("owner/name", {"mine.json": odd, "f.safetensors": content})
    done = command("pull", "owner/name")
    name = load(source).name
    assert (done.stdout, done.returncode) == (f"{name}.json: {name}, digest {load(source).digest()}\n", 0), done
    here = tmp_path / "here"
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {f"{name}.json": odd, "f.safetensors": content}
    assert not any(path.is_symlink() for path in here.iterdir())
    assert command("pull", "owner/name").returncode == 0
    (here / f"{name}.json").write_text("mine")
    assert refusal(command("pull", "owner/name")) == f"{name}.json: is there already; name another file (--output)"
    assert (here / f"{name}.json").read_text() == "mine"
    assert command("pull", "owner/name", "-o", here / "a" / "b.json").returncode == 0
    assert (here / "a" / "f.safetensors").read_bytes() == content


def test_pull_wants_a_reference(command: Command) -> None:
    assert refusal(command("pull", "./edit.json")).startswith("./edit.json: expected owner/name, owner/name/file.json")
