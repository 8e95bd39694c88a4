"""A base is found where transformers was told to load it from: a subfolder, a variant, another cache, a GGUF file."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
import torch
import transformers

from cti_edits.artifact.asked import Asked, AskedModel
from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.cli import main
from cti_edits.errors import BaseMismatchError, CheckpointError, EditError
from cti_edits.harness.lm import EditedLM
from cti_edits.hub.repositories import checkpoint_folder
from cti_edits.models.apply import applied, apply, target_matrix
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.checkpoint_location import CheckpointLocation, checkpoint_location
from cti_edits.models.export import HUB_FILES
from cti_edits.models.identity import checkpoint_of, identity_of
from tests.support.edits import SEARCH, matrix_edit
from tests.support.tiny_models import INNER, LAYERS, VOCABULARY, WIDTH, save_checkpoint, tiny_model

NAME = "model.layers.1.mlp.gate_proj.weight"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def nudged() -> Any:
    """Another model, which bfloat16 cannot tell from the plain one."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_parameter(NAME)[0, 0] *= 1 + 2**-20
    assert torch.equal(model.get_parameter(NAME).bfloat16(), tiny_model("llama").get_parameter(NAME).bfloat16())
    return model


def loaded(place: str | Path, **options: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16, **options)


def recorded(place: str | Path, **where: Any) -> Edit:
    """As a search records it, of a model loaded as bfloat16."""
    model = loaded(place, **where)
    one = matrix_edit(model, "U_in", 1)
    identity = identity_of(target_matrix(model, "U_in", 1), checkpoint_of(model, **checkpoint_location(where)))
    base = BaseModel(str(place), where.get("revision"), type(model).__name__, "bfloat16")
    return Edit("tried", "", base, (dataclasses.replace(one, **vars(identity)),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints in subfolders, which bfloat16 cannot tell apart, and nothing beside them."""
    save_checkpoint(tmp_path / "models" / "a" / "inner", "llama")
    save_checkpoint(tmp_path / "models" / "b", "llama", nudged())
    return tmp_path / "models"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Puts a folder where the hub's client keeps what it fetched."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(source: Path, cache: Path = tmp_path / "hub") -> str:
        home = cache / "models--tests--tiny"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(COMMIT)
        shutil.copytree(source, home / "snapshots" / COMMIT)
        return "tests/tiny"

    return put


@pytest.mark.parametrize("from_hub", [False, True])
def test_a_narrower_base_in_a_subfolder_is_verified_and_another_one_is_not(
    from_hub: bool, folder: Path, hub: Callable[[Path], str]
) -> None:
    place = hub(folder) if from_hub else str(folder)
    edit = recorded(place, subfolder="a/inner")
    assert (edit.edits[0].dtype, edit.edits[0].tensor) == ("F32", NAME)
    with applied(edit, loaded(place, subfolder="a/inner"), subfolder="a/inner") as in_force:
        assert in_force.verified
    with pytest.raises(BaseMismatchError, match=r"expected .*, found "):
        apply(edit, loaded(place, subfolder="b"), subfolder="b")
    # Without being told, there is nothing that could say which of them it is.
    reason = "no such model in the hub's cache" if from_hub else "has neither model.safetensors nor"
    with pytest.raises(BaseMismatchError, match=f"loaded as bfloat16, .*{reason}"):
        apply(edit, loaded(place, subfolder="a/inner"))
    found = open_checkpoint(place, local=True, subfolder="a/inner")
    assert (found.place, found.commit) == (f"{place}/a/inner", COMMIT if from_hub else None)


@pytest.mark.parametrize("from_hub", [False, True])
def test_an_edit_that_was_searched_in_a_subfolder_says_so_itself(
    from_hub: bool, folder: Path, hub: Callable[[Path], str], tmp_path: Path
) -> None:
    place = hub(folder) if from_hub else str(folder)
    asked = Asked(model=AskedModel(pretrained=place, subfolder="a/inner"))
    search = dataclasses.replace(SEARCH, asked=asked)
    edit = dataclasses.replace(recorded(place, subfolder="a/inner"), search=search)
    assert apply(edit, loaded(place, subfolder="a/inner")).verified
    with pytest.raises(BaseMismatchError):
        apply(edit, loaded(place, subfolder="b"), subfolder="b")
    # Another place has its own folders.
    save_checkpoint(tmp_path / "flat", "llama")
    assert apply(edit, loaded(tmp_path / "flat")).verified


def test_the_lm_eval_model_looks_in_its_subfolder(folder: Path, tmp_path: Path) -> None:
    path = recorded(folder, subfolder="a/inner").write(tmp_path / "edit.json")
    given = {"edit": str(path), "pretrained": str(folder), "dtype": "bfloat16"}
    lm = EditedLM.create_from_arg_obj({**given, "subfolder": "a/inner"}, {"device": "cpu"})
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    with pytest.raises(BaseMismatchError):
        EditedLM.create_from_arg_obj({**given, "subfolder": "b"}, {"device": "cpu"})


def run(*words: str | Path) -> tuple[int, str, str]:
    out, err, former = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["cti-edits", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = former
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.mark.parametrize("from_hub", [False, True])
def test_the_commands_take_a_subfolder(
    from_hub: bool, folder: Path, hub: Callable[[Path], str], tmp_path: Path
) -> None:
    place = hub(folder) if from_hub else str(folder)
    path = recorded(place, subfolder="a/inner").write(tmp_path / "edit.json")
    assert run("verify", path, "--subfolder", "a/inner")[:2] == (0, f"{NAME[:-7]}: ok: {NAME}, F32\n")
    code, out, _ = run("verify", path, "--model", place, "--subfolder", "b")
    assert (code, "does not fit: sha256" in out) == (1, True)
    assert run("verify", path, "--subfolder", "none")[0] == 2
    code, _, err = run("verify", path, "--subfolder", "../models/b")
    assert (code, err.count("\n")) == (2, 1)
    assert "subfolder: expected a folder inside" in err
    code, out, err = run("export", path, "--subfolder", "a/inner", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert out.endswith("edited tensors 1, verified\n")
    assert (tmp_path / "out" / "tokenizer.json").exists()
    code, _, err = run("export", path, "--subfolder", "b", "--out", tmp_path / "other")
    assert (code, "edits[0].sha256" in err, err.count("\n")) == (2, True, 1)


def test_a_folder_of_the_hub_s_that_is_not_there(folder: Path, hub: Callable[[Path], str]) -> None:
    for place in (hub(folder), str(folder)):
        with pytest.raises(EditError, match=f"{place}/none: no such folder"):
            checkpoint_folder(place, HUB_FILES, None, "none")
        with pytest.raises(CheckpointError, match=f"{place}/none: no such folder"):
            open_checkpoint(place, local=True, subfolder="none")


@pytest.mark.parametrize("subfolder", ["..", "a/../../b", "/etc"])
def test_a_subfolder_leads_nowhere_else(subfolder: str, folder: Path) -> None:
    for call in (
        lambda: open_checkpoint(str(folder), subfolder=subfolder),
        lambda: checkpoint_folder(str(folder), HUB_FILES, None, subfolder),
    ):
        with pytest.raises(CheckpointError, match="subfolder: expected a folder inside"):
            call()


@pytest.mark.parametrize("shards", [False, True])
def test_a_variant_has_files_of_its_own(shards: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_shard_size": "20KB"} if shards else {}
    nudged().save_pretrained(tmp_path)
    tiny_model("llama").save_pretrained(tmp_path, variant="full", **options)
    edit = recorded(tmp_path, variant="full")
    model = loaded(tmp_path, variant="full")
    with applied(edit, model, variant="full") as in_force:
        assert in_force.verified
    with pytest.raises(BaseMismatchError):
        apply(edit, loaded(tmp_path))


def test_a_cache_of_its_own(folder: Path, hub: Callable[..., str], tmp_path: Path) -> None:
    place = hub(folder / "a" / "inner", tmp_path / "mine")
    where: CheckpointLocation = {"cache_dir": str(tmp_path / "mine")}
    edit = recorded(place, **where)
    assert edit.edits[0].dtype == "F32"
    with applied(edit, loaded(place, **where), **where) as in_force:
        assert in_force.verified
    with pytest.raises(BaseMismatchError, match=r"no such model in the hub's cache|cannot be read from the hub"):
        apply(edit, loaded(place, **where))


def test_pickled_weights_beside_safetensors_are_not_taken_for_them(tmp_path: Path) -> None:
    """They say that they are of the base, and the weights in memory are of the pickle."""
    model = tiny_model("llama")
    model.save_pretrained(tmp_path)
    edit = recorded(tmp_path)
    torch.save(nudged().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BaseMismatchError, match="use_safetensors=false, from files that are not read here"):
        apply(edit, loaded(tmp_path, use_safetensors=False), use_safetensors=False)


def write_gguf(model: Any, file: Path) -> None:
    """The tiny Llama as llama.cpp has it, its MLPs in 8 bits."""
    writer, config = gguf.GGUFWriter(str(file), "llama"), model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(VOCABULARY)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        target = names.get_name(name, try_suffixes=(".weight",)) or name
        if "gate_proj" in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_model_of_a_gguf_file_cannot_be_told(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path)
    edit = recorded(tmp_path)
    write_gguf(model, tmp_path / "model.gguf")
    for dtype in (torch.bfloat16, torch.float32):
        found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=dtype)
        with pytest.raises(BaseMismatchError, match=r"edits\[0\]\.sha256: .*model\.gguf is a GGUF file, whose weights"):
            apply(edit, found, gguf_file="model.gguf")
        assert not apply(edit, found, verify=False).verified
    path = edit.write(tmp_path / "edit.json")
    with pytest.raises(BaseMismatchError, match=r"model\.gguf is a GGUF file"):
        EditedLM.create_from_arg_obj(
            {"edit": str(path), "gguf_file": "model.gguf", "tokenizer": str(save_checkpoint(tmp_path / "t", "llama"))},
            {"device": "cpu"},
        )


def test_which_arguments_say_where_weights_are() -> None:
    given = {"revision": "v1", "subfolder": "", "variant": None, "use_safetensors": False, "dtype": "auto", "peft": "x"}
    assert checkpoint_location(given) == {"revision": "v1", "use_safetensors": False}
