"""The files of a checkpoint folder: where each tensor's bytes are, and which files belong to the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cti_edits.errors import EditError
from cti_edits.models.checkpoint_files import checkpoint_files
from tests.support.tiny_models import tiny_model

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    tiny_model("gpt2").save_pretrained(folder, max_shard_size="30KB")
    return folder


@pytest.fixture
def copy(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(EditError) as caught:
        checkpoint_files(folder)
    assert str(caught.value).isprintable()
    return str(caught.value).replace(str(folder), "FOLDER")


def test_the_bytes_at_a_place_are_those_of_the_tensor(sharded: Path) -> None:
    found = checkpoint_files(sharded)
    assert (found.index, len(found.files)) == (INDEX, len(list(sharded.glob("*.safetensors"))))
    for name, file in found.tensors.items():
        place = found.place_of(name)
        values = load_file(sharded / file)[name]
        content = (sharded / file).read_bytes()[place.start : place.start + place.size]
        assert (place.name, place.file, place.dtype) == (name, file, "F32")
        assert content == values.numpy().tobytes()


def test_one_file_has_no_index(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(1)}, tmp_path / "model.safetensors")
    found = checkpoint_files(tmp_path)
    assert (found.files, found.index) == (("model.safetensors",), None)
    assert found.tensors == {"a": "model.safetensors", "b": "model.safetensors"}


def test_companions_are_what_says_how_weights_are_used(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "additional_chat_templates").mkdir()
    wanted = ["LICENSE", "additional_chat_templates/a.jinja", "config.json", "merges.txt", "spiece.model"]
    others = ["code.py", "pytorch_model.bin", "optimizer.json", "trainer_state.json", INDEX, "README.md"]
    for name in (*wanted, *others):
        (tmp_path / name).write_text("{}")
    (tmp_path / "folder.json").mkdir()
    assert [path.as_posix() for path in checkpoint_files(tmp_path).companions()] == wanted


def test_a_tensor_in_two_files_is_refused(copy: Path) -> None:
    index = json.loads((copy / INDEX).read_text())
    name, file = next(iter(index["weight_map"].items()))
    other = next(one for one in index["weight_map"].values() if one != file)
    save_file({**load_file(copy / other), name: torch.zeros(1)}, copy / other)
    first, second = sorted((file, other))
    assert refusal(copy) == f"FOLDER: the tensor {name} is in both {first} and {second}"


def test_an_index_that_names_a_file_elsewhere_is_refused(copy: Path) -> None:
    for name in ("../x.safetensors", "./x.safetensors", "/x.safetensors", "x.bin"):
        (copy / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
        assert refusal(copy) == (f"FOLDER/{INDEX}: weight_map: expected the name of a safetensors file, got {name!r}")


def test_an_index_that_says_of_a_tensor_what_is_not_so_is_refused(copy: Path) -> None:
    index = json.loads((copy / INDEX).read_text())
    names = list(index["weight_map"])
    index["weight_map"]["extra"] = index["weight_map"][names[0]]
    (copy / INDEX).write_text(json.dumps(index))
    assert refusal(copy) == f"FOLDER/{INDEX}: extra is not in {index['weight_map'][names[0]]}"


def test_a_copy_that_lost_a_tensor_is_refused(sharded: Path, copy: Path) -> None:
    found = checkpoint_files(sharded)
    name, file = next(iter(found.tensors.items()))
    left = load_file(copy / file)
    del left[name]
    save_file(left, copy / file)
    with pytest.raises(EditError, match=f"expected the tensor {name}, which {INDEX} has there"):
        found.place_of(name, copy)
