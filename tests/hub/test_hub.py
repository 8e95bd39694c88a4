"""Sharing through the real client of the hub, against a server on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cti_edits.artifact.manifest import BaseModel, Edit, Factors, load
from cti_edits.errors import EditError
from cti_edits.hub.references import HubReference, hub_reference, load_edit, manifest_path
from tests.support.local_hub import TOKEN, LocalHub, local_hub

FIXTURES = Path(__file__).parents[1] / "data" / "edit-1"
ONE = FIXTURES / "one_matrix.json"
COMMAND = [sys.executable, "-c", "from cti_edits.cli import main; main()"]

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with local_hub() as server:
        yield server


@pytest.fixture
def command(hub: LocalHub, tmp_path: Path) -> Command:
    """``cti-edits`` with the server as its hub, a cache of its own and nobody logged in."""
    (tmp_path / "here").mkdir()

    def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path / "here",
            env={**kept, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), **environment},
        )

    return run


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    return done.stderr.removeprefix("cti-edits: error: ").rstrip("\n")


def with_factors(folder: Path) -> tuple[Path, bytes]:
    """A manifest with a file of factors beside it."""
    content = b"factors"
    edit = load(ONE)
    factors = Factors("f.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "f.safetensors").write_bytes(content)
    edit = dataclasses.replace(edit, edits=(dataclasses.replace(edit.edits[0], factors=factors),))
    return edit.write(folder / "mine.json"), content


# What a reference is


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubReference("owner/name")),
        ("owner/name@v1", HubReference("owner/name", None, "v1")),
        ("owner/name@refs/pr/1", HubReference("owner/name", None, "refs/pr/1")),
        ("owner/na.me_x-1/an.edit.json", HubReference("owner/na.me_x-1", "an.edit.json")),
        ("owner/name/edit.json@main", HubReference("owner/name", "edit.json", "main")),
        ("owner/name.json@main", HubReference("owner/name.json", None, "main")),
        ("edits/fever.json", None),
        ("there/below/edit.json", None),
        ("there/is", None),
        ("name", None),
        ("/owner/name", None),
        ("./owner/name", None),
        ("../name", None),
        ("~/name", None),
        ("a/b/c/edit.json", None),
        ("owner/name/edit.bin", None),
        ("owner/name@", None),
        ("owner/name@a b", None),
        ("owner/name\n", None),
        ("", None),
    ],
)
def test_what_is_a_reference_and_what_a_path(
    text: str, expected: HubReference | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there" / "below").mkdir(parents=True)
    (tmp_path / "there" / "is").touch()
    assert hub_reference(text) == expected
    assert expected is None or str(expected) == text


def test_a_folder_stands_for_its_manifest(tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(EditError) as caught:
            manifest_path(tmp_path)
        return str(caught.value)

    assert refused() == f"{tmp_path}: expected an edit manifest, a JSON file, found none"
    one = load(ONE).write(tmp_path / "one.json")
    (tmp_path / "README.md").touch()
    assert manifest_path(tmp_path) == one
    assert load_edit(str(tmp_path)) == load(ONE)
    for name in ("b\x1b.json", "c.json"):
        (tmp_path / name).touch()
    assert refused() == (
        f"{tmp_path}: expected edit.json or one JSON file, found 3: b\\x1b.json, c.json, one.json; name the one to read"
    )
    (tmp_path / "edit.json").touch()
    assert manifest_path(tmp_path) == tmp_path / "edit.json"


def test_what_is_here_wins_over_the_hub(command: Command, hub: LocalHub, tmp_path: Path) -> None:
    folder = tmp_path / "here" / "owner" / "name"
    folder.mkdir(parents=True)
    load(ONE).write(folder / "x.json")
    done = command("validate", "owner/name")
    assert (done.returncode, done.stderr) == (0, "")
    assert hub.asked == []


# Reading


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


# pull


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


def test_pull_wants_a_reference(command: Command) -> None:
    assert refusal(command("pull", "./edit.json")).startswith("./edit.json: expected owner/name, owner/name/file.json")


# push


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


def test_the_front_matter_is_what_the_client_of_the_hub_reads(command: Command, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    edit: Edit = dataclasses.replace(load(FIXTURES / "two_matrices.json"), edits=())
    edit.write(tmp_path / "edit.json")
    command("push", tmp_path / "edit.json", "owner/name", "--license", "mit", "--dry-run", tmp_path / "out")
    data: Any = ModelCard.load(tmp_path / "out" / "README.md").data
    assert yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])["model-index"]
    assert (data.base_model, data.base_model_relation) == (edit.base_model.id, "adapter")
    assert (data.library_name, data.license) == ("cti-edits", "mit")
    test = edit.results.test
    assert test is not None
    assert [result.metric_value for result in data.eval_results] == [test.edited, test.baseline, test.majority_class]
