"""What a checkpoint stores of a tensor, found and hashed without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cti_edits.errors import CheckpointError
from cti_edits.models import checkpoint as checkpoint_module
from cti_edits.models.apply import apply
from cti_edits.models.checkpoint import Checkpoint, Config, open_checkpoint
from cti_edits.models.identity import tensor_sha256
from tests.support.checkpoints import COMMIT, loaded, recorded, saved
from tests.support.tiny_models import save_checkpoint, tiny_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
NAME = "model.layers.1.mlp.gate_proj.weight"


def test_a_sharded_checkpoint_stores_the_same(tmp_path: Path) -> None:
    single = open_checkpoint(str(saved(tmp_path / "single")))
    folder = saved(tmp_path / "sharded", max_shard_size="20KB")
    assert not (folder / "model.safetensors").exists()
    assert len(list(folder.glob("*.safetensors"))) > 2
    sharded = open_checkpoint(str(folder))
    for name in (NAME, "lm_head.weight"):
        one, other = single.find(name), sharded.find(name)
        assert one is not None
        assert other is not None
        assert one.sha256() == other.sha256()
    named = dict(tiny_model("llama").named_parameters())
    for checkpoint in (single, sharded):
        found = checkpoint.tensors()
        assert {one.name: one.shape for one in found} == {name: tuple(one.shape) for name, one in named.items()}
        assert {one.name: one.size for one in found} == {name: 4 * one.numel() for name, one in named.items()}


def test_one_shard_alone_is_read_for_a_tensor(tmp_path: Path) -> None:
    folder = saved(tmp_path, max_shard_size="20KB")
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for file in folder.glob("*.safetensors"):
        if file.name != weight_map[NAME]:
            file.unlink()
    stored = open_checkpoint(str(folder)).find(NAME)
    assert stored is not None
    assert stored.sha256() == tensor_sha256(tiny_model("llama").get_parameter(NAME))
    with pytest.raises(CheckpointError, match=r"model-0000\d-of-0000\d.safetensors is missing"):
        open_checkpoint(str(folder)).find("lm_head.weight")


def with_names(folder: Path, *names: str) -> Checkpoint:
    folder.mkdir(exist_ok=True)
    tensors = {name: torch.full((2, 2), float(number)) for number, name in enumerate(names)}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    return open_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        (["h.0.fc.weight", "x"], "transformer.h.0.fc.weight", "h.0.fc.weight"),
        (["transformer.h.0.fc.weight", "x"], "h.0.fc.weight", "transformer.h.0.fc.weight"),
        (["h.0.fc.weight", "transformer.h.0.fc.weight"], "transformer.h.0.fc.weight", "transformer.h.0.fc.weight"),
        (["a.h.0.fc.weight", "b.h.0.fc.weight"], "h.0.fc.weight", None),
        (["a.b.h.0.fc.weight"], "h.0.fc.weight", None),
        (["xh.0.fc.weight", "h.0.fc.weight2"], "h.0.fc.weight", None),
        (["decoder.h.0.fc.weight"], "encoder.h.0.fc.weight", None),
    ],
)
def test_a_name_may_have_one_part_more_or_less_in_front(
    names: list[str], asked: str, found: str | None, tmp_path: Path
) -> None:
    stored = with_names(tmp_path, *names).find(asked)
    assert (stored.name if stored else None) == found


def test_a_base_model_s_checkpoint_verifies_in_a_model_with_a_head(tmp_path: Path) -> None:
    """As GPT-2's is on the hub: saved without the head, so that names lack "transformer."."""
    model = tiny_model("gpt2")
    model.transformer.save_pretrained(tmp_path)
    edit = recorded(tmp_path, ("U_in", 1))
    assert edit.edits[0].tensor == "h.1.mlp.c_fc.weight"
    assert apply(edit, loaded(tmp_path, torch.bfloat16)).verified


# The hub's cache


def test_an_edit_of_one_commit_is_compared_with_that_commit(cached: Callable[..., str], tmp_path: Path) -> None:
    name = cached(saved(tmp_path / "one"))
    save_checkpoint(tmp_path / "two", "llama", tiny_model("llama", seed=1))
    cached(tmp_path / "two", commit="f" * 40, branch="other")
    assert open_checkpoint(name, "other", local=True).commit == "f" * 40
    assert open_checkpoint(name, COMMIT, local=True).commit == COMMIT
    with pytest.raises(CheckpointError, match="no such model in the hub's cache on this machine"):
        open_checkpoint(name, "e" * 40, local=True)


# Wrong files


def index_of(weight_map: object) -> dict[str, str]:
    return {"model.safetensors.index.json": json.dumps({"weight_map": weight_map})}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has neither"),
        ({"model.safetensors": "x"}, "model.safetensors: cannot be read: "),
        ({"model.safetensors": ""}, "model.safetensors: cannot be read: "),
        ({"model.safetensors.index.json": "{"}, "index.json: cannot be read: "),
        ({"model.safetensors.index.json": "[" * 100_000}, "index.json: cannot be read: "),
        ({"model.safetensors.index.json": "[]"}, "index.json: expected a JSON object"),
        (index_of({}), "index.json: weight_map: expected an object from tensors to files"),
        (index_of([]), "index.json: weight_map: expected an object from tensors to files"),
        (index_of({"w": 1}), "index.json: weight_map: expected an object from tensors to files"),
        *[
            (index_of({"w": file}), f"weight_map: expected the name of a safetensors file, got {file!r}")
            for file in (
                "../x.safetensors",
                "/etc/x.safetensors",
                "./x.safetensors",
                "a\\x.safetensors",
                "x.bin",
                "..",
                "",
            )
        ],
        (index_of({"w": "gone.safetensors"}), "gone.safetensors is missing"),
        (index_of({"w": "a\0.safetensors"}), r"a\x00.safetensors is missing"),
        (index_of({"w": "x" * 300 + ".safetensors"}), "… is missing"),
    ],
)
def test_a_wrong_checkpoint_is_an_error_in_one_line(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(tmp_path)).find("w")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("place", ["", "no/such-model", "not an id", "/no/such/folder", "a/b/c", "esc\x1b[31m"])
def test_a_place_that_is_none_is_an_error_in_one_line(place: str) -> None:
    with pytest.raises(CheckpointError, match="no such folder") as caught:
        open_checkpoint(place)
    assert str(caught.value).isprintable()


def test_a_checkpoint_without_config_has_an_empty_one(tmp_path: Path) -> None:
    assert open_checkpoint(str(tmp_path)).config == Config()
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        _ = open_checkpoint(str(tmp_path)).config


def sharded_files(folder: Path, shards: dict[str, dict[str, torch.Tensor]], weight_map: dict[str, str]) -> Checkpoint:
    for file, tensors in shards.items():
        safetensors.torch.save_file(tensors, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return open_checkpoint(str(folder))


def test_an_index_that_says_other_than_its_files_is_refused(tmp_path: Path) -> None:
    one, other = {"a": torch.zeros(2)}, {"b": torch.ones(3)}
    swapped = {"a": "2.safetensors", "b": "1.safetensors"}
    checkpoint = sharded_files(tmp_path, {"1.safetensors": one, "2.safetensors": other}, swapped)
    for call in (lambda: checkpoint.find("a"), checkpoint.tensors):
        with pytest.raises(CheckpointError, match=r"index\.json: a is not in 2\.safetensors"):
            call()
    both = {"1.safetensors": one, "2.safetensors": {**one, **other}}
    checkpoint = sharded_files(tmp_path, both, {"a": "1.safetensors", "b": "2.safetensors"})
    with pytest.raises(CheckpointError, match=r"the tensor a is in both 1\.safetensors and 2\.safetensors"):
        checkpoint.tensors()


def test_the_size_of_a_json_file_is_bounded_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "MAX_JSON_BYTES", 10)
    (tmp_path / "config.json").write_text("x" * 11)
    with pytest.raises(CheckpointError, match=r"config\.json: expected at most 10 bytes"):
        _ = open_checkpoint(str(tmp_path)).config
