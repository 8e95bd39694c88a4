from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cti_edits.artifact.manifest import Edit, load
from cti_edits.errors import BaseMismatchError, EditError, FactorsError, FitError
from cti_edits.hub.repositories import checkpoint_folder
from cti_edits.models.apply import apply, target_matrix
from cti_edits.models.export import HUB_FILES, export
from cti_edits.models.identity import tensor_sha256
from cti_edits.models.packing import pack
from tests.support.edits import edit_of, plugin_edit
from tests.support.tiny_models import EVERY, save_checkpoint, tiny_model

SHARD = "30KB"


def reload(folder: Path, model: Any, **options: Any) -> Any:
    return type(model).from_pretrained(folder, **options)


def headers(folder: Path) -> dict[str, bytes]:
    """The header of each safetensors file, as it is written."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        found[path.name] = content[: 8 + int.from_bytes(content[:8], "little")]
    return found


def stored(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor that is stored."""
    found = {}
    for path in folder.glob("*.safetensors"):
        for name, tensor in load_file(path).items():
            found[name] = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return found


def changed(edit: Edit, **values: Any) -> Edit:
    return dataclasses.replace(edit, edits=(dataclasses.replace(edit.edits[0], **values), *edit.edits[1:]))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    tiny_model("gpt2").save_pretrained(folder, max_shard_size=SHARD)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.mark.parametrize("shards", [False, True], ids=["one file", "sharded"])
@pytest.mark.parametrize("model_type", EVERY)
def test_an_export_loads_with_the_very_weights_that_apply_gives(model_type: str, shards: bool, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    model = tiny_model(model_type)
    model.save_pretrained(source, **({"max_shard_size": SHARD} if shards else {}))
    assert (len(headers(source)) > 1) == shards
    edit = edit_of(model, ("U_in", 0, 3, 0.25), ("U_out", 1, 2, 0.1), ("W_o", 2, 1, 0.5))
    done = export(edit, source, target)
    assert (done.verified, len(done.edited), set(done.files)) == (True, 3, set(headers(source)))
    apply(edit, model)
    loaded = reload(target, model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert headers(target) == headers(source)
    before, after = stored(source), stored(target)
    assert {name for name in before if before[name] != after[name]} == set(done.edited)
    beside = {path.name for path in source.iterdir()} - set(headers(source))
    assert {path.name for path in target.iterdir()} == {path.name for path in source.iterdir()} | {"README.md"}
    assert all((target / name).read_bytes() == (source / name).read_bytes() for name in beside)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_tied_weights_stay_tied_and_stored_once(tmp_path: Path) -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "source")
    export(edit_of(model, ("U_in", 1, 1, 0.5)), tmp_path / "source", tmp_path / "target")
    assert "lm_head.weight" not in stored(tmp_path / "target")
    loaded = reload(tmp_path / "target", model)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_a_matrix_that_is_tied_to_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "source")
    edit = edit_of(model, ("U_in", 1, 1, 0.5))

    class Tied(transformers.LlamaForCausalLM):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model.layers[2].mlp.gate_proj.weight = self.model.layers[1].mlp.gate_proj.weight

    # transformers puts another module object in its own place while it is imported.
    monkeypatch.setattr(sys.modules["transformers"], "LlamaForCausalLM", Tied)
    with pytest.raises(
        FitError, match=r"layers\.1\.mlp\.gate_proj\.weight is tied to model\.layers\.2\.mlp\.gate_proj"
    ):
        export(edit, tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "roberta"])
def test_a_checkpoint_of_the_bare_base_model(model_type: str, tmp_path: Path) -> None:
    """GPT-2 lies on the hub as h.0.mlp.c_fc.weight, without the first part of the module's name."""
    model = tiny_model(model_type)
    model.base_model.save_pretrained(tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    config["architectures"] = [type(model).__name__]
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    edit = edit_of(model, ("U_in", 1, 2, 0.25))
    done = export(edit, tmp_path / "source", tmp_path / "target")
    name = edit.edits[0].module.split(".", 1)[1] + ".weight"
    assert done.edited == (name,)
    apply(edit, model)
    loaded = reload(tmp_path / "target", model)
    assert torch.equal(target_matrix(loaded, "U_in", 1).weight, target_matrix(model, "U_in", 1).weight)


@pytest.mark.parametrize(
    ("kept_as", "made_in"),
    [
        (torch.float32, torch.float16),
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.float32),
    ],
    ids=str,
)
def test_the_dtype_of_the_edit_and_of_the_checkpoint(
    kept_as: torch.dtype, made_in: torch.dtype, tmp_path: Path
) -> None:
    tiny_model("gptj").to(kept_as).save_pretrained(tmp_path / "source")
    model = reload(tmp_path / "source", tiny_model("gptj"), dtype=made_in)
    edit = edit_of(model, ("U_out", 1, 2, 0.25))
    assert export(edit, tmp_path / "source", tmp_path / "target").verified
    assert headers(tmp_path / "target") == headers(tmp_path / "source")
    rounded = "rounded" in (tmp_path / "target" / "README.md").read_text()
    narrower = torch.finfo(kept_as).bits < torch.finfo(made_in).bits
    assert rounded == narrower
    loaded_in = kept_as if narrower else made_in
    expected = reload(tmp_path / "source", model, dtype=loaded_in)
    apply(edit, expected, verify=not narrower)
    loaded = reload(tmp_path / "target", model, dtype=loaded_in)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_an_edit_with_factors_is_exported_from_them(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.save_pretrained(tmp_path / "source")
    file = edit_of(model, ("U_in", 1, 2, 0.25), ("W_o", 0, 1, 1.0)).write(tmp_path / "edit.json")
    pack(file, str(tmp_path / "source"))
    edit = load(file)
    assert edit.edits[0].factors is not None
    export(edit, tmp_path / "source", tmp_path / "target")
    apply(edit, model)
    loaded = reload(tmp_path / "target", model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    (tmp_path / edit.edits[0].factors.file).unlink()
    refused(edit, tmp_path / "source", tmp_path / "second", FactorsError)


def test_a_hash_of_the_stored_bytes_is_not_met_by_rounding(tmp_path: Path) -> None:
    """The edit was made for a float16 checkpoint; this one is float32, and rounds to it."""
    model = tiny_model("gptj")
    model.save_pretrained(tmp_path / "wider")
    made_for = edit_of(tiny_model("gptj").half(), ("U_in", 1, 2, 0.25))
    stored_half = changed(made_for, dtype="F16")
    refused(stored_half, tmp_path / "wider", tmp_path / "target", BaseMismatchError)
    model.half().float().save_pretrained(tmp_path / "same")
    assert export(stored_half, tmp_path / "same", tmp_path / "target").verified


def test_the_files_beside_the_weights_are_copies_and_no_pickle_or_code_comes_along(tmp_path: Path) -> None:
    blobs, source, target = tmp_path / "blobs", tmp_path / "source", tmp_path / "target"
    save_checkpoint(blobs, "llama")
    source.mkdir()
    for path in blobs.iterdir():
        (source / path.name).symlink_to(path)
    (source / "gone.json").symlink_to("nowhere")
    (source / "additional_chat_templates").mkdir()
    for name in ("merges.txt", "chat_template.jinja", "LICENSE", "additional_chat_templates/tool.jinja"):
        (source / name).write_text(name)
    left_out = (
        "pytorch_model.bin",
        "training_args.bin",
        "model.pkl",
        "modeling_x.py",
        "README.md",
        "consolidated.safetensors",
    )
    for name in (*left_out, "pytorch_model.bin.index.json"):
        (source / name).write_text("theirs")
    export(edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.25)), source, target)
    assert not any(path.is_symlink() for path in target.rglob("*"))
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {path.name for path in blobs.iterdir()} | {
        "merges.txt", "chat_template.jinja", "LICENSE", "additional_chat_templates/tool.jinja", "README.md"
    }  # fmt: skip
    shutil.rmtree(blobs)
    assert "theirs" not in (target / "README.md").read_text()
    assert (target / "config.json").read_text()


def test_an_empty_edit_gives_the_base(tmp_path: Path, sharded: Path) -> None:
    edit = edit_of(tiny_model("gpt2"))
    export(edit, sharded, tmp_path / "target")
    assert stored(tmp_path / "target") == stored(sharded)
    assert "The edit is empty" in (tmp_path / "target" / "README.md").read_text()


# Refusals


def refused(edit: Edit, source: Path, target: Path, kind: type[EditError] = FitError, verify: bool = True) -> str:
    """The message of a refusal, after which nothing new is beside the target."""
    before = sorted(target.parent.iterdir())
    with pytest.raises(kind) as caught:
        export(edit, source, target, verify)
    assert sorted(target.parent.iterdir()) == before
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_an_edit_that_does_not_fit(tmp_path: Path, sharded: Path) -> None:
    edit, target = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25)), tmp_path / "target"
    for changes, expected in (
        ({"layer": 3}, "test: edits[0].layer: expected 0 to 2 (the model has 3 layers), got 3"),
        ({"matrix": "U_xx"}, "test: edits[0].matrix: the gpt2 family has no matrix 'U_xx'"),
        ({"module": "transformer.h.0.mlp.c_fc"}, "test: edits[0].module: U_in of layer 1 is transformer.h.1.mlp.c_fc"),
        ({"shape": (32, 48)}, "test: edits[0].shape: the edit is for [32, 48] (rows, columns)"),
    ):
        assert refused(changed(edit, **changes), sharded, target).startswith(expected)
    base = dataclasses.replace(edit.base_model, architecture="LlamaForCausalLM")
    assert refused(dataclasses.replace(edit, base_model=base), sharded, target) == (
        f"test: base_model.architecture: the edit is for LlamaForCausalLM, {sharded} is a GPT2LMHeadModel"
    )
    magic = dataclasses.replace(edit, edits=tuple(map(plugin_edit, edit.edits)))
    assert "'magic' is not known here" in refused(magic, sharded, target, EditError)


def test_another_base_is_refused_unless_told_otherwise(tmp_path: Path, sharded: Path) -> None:
    edit = edit_of(tiny_model("gpt2", seed=1), ("U_in", 1, 2, 0.25))
    name = "transformer.h.1.mlp.c_fc.weight"
    message = refused(edit, sharded, tmp_path / "target", BaseMismatchError)
    found = tensor_sha256(tiny_model("gpt2").get_parameter(name))
    assert message == (
        f"test: edits[0].sha256: {name} is not the tensor that this edit was made for "
        f"(expected {edit.edits[0].sha256}, found {found}); verify=false exports it all the same"
    )
    assert not export(edit, sharded, tmp_path / "target", verify=False).verified
    assert "**not verified**" in (tmp_path / "target" / "README.md").read_text()
    assert not export(changed(edit, sha256=None), sharded, tmp_path / "unknown").verified


def test_a_weight_that_is_not_finite(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        target_matrix(model, "U_in", 1).parameter[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "source")
    edit = edit_of(model, ("U_in", 1, 2, 0.25))
    assert refused(edit, tmp_path / "source", tmp_path / "target").endswith(
        "gate_proj.weight holds NaN or infinite values"
    )


def broken(folder: Path, sharded: Path) -> Path:
    shutil.copytree(sharded, folder)
    return folder


def test_a_checkpoint_that_is_none(tmp_path: Path, sharded: Path) -> None:
    edit, target = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25)), tmp_path / "target"

    def message(source: Path, kind: type[EditError] = EditError) -> str:
        return refused(edit, source, target, kind).replace(str(source), "SOURCE")

    (tmp_path / "empty").mkdir()
    assert message(tmp_path / "empty").startswith("SOURCE: has neither model.safetensors nor model.safetensors.index")
    assert message(tmp_path / "gone") == "SOURCE: no such folder"
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    name, file = "transformer.h.1.mlp.c_fc.weight", index["weight_map"]["transformer.h.1.mlp.c_fc.weight"]
    for number, (weight_map, expected) in enumerate(
        [
            ([], "weight_map: expected an object from tensors to files"),
            ({"a": 1}, "weight_map: expected an object from tensors to files"),
            ({"a": "../x.safetensors"}, "weight_map: expected the name of a safetensors file, got '../x.safetensors'"),
            ({"a": "/x.safetensors"}, "weight_map: expected the name of a safetensors file, got '/x.safetensors'"),
            ({"a": "x.bin"}, "weight_map: expected the name of a safetensors file, got 'x.bin'"),
            ({**index["weight_map"], "extra": file}, f"extra is not in {file}"),
        ]
    ):
        source = broken(tmp_path / f"index{number}", sharded)
        (source / "model.safetensors.index.json").write_text(json.dumps({**index, "weight_map": weight_map}))
        assert message(source) == f"SOURCE/model.safetensors.index.json: {expected}"
    source = broken(tmp_path / "cut", sharded)
    (source / file).write_bytes((source / file).read_bytes()[:-1])
    assert message(source).startswith(f"SOURCE/{file}: cannot be read: ")
    (source / file).unlink()
    assert message(source) == f"SOURCE: {file} is missing"
    source = broken(tmp_path / "config", sharded)
    (source / "config.json").write_text("[1]")
    assert message(source) == "test: SOURCE/config.json: expected a JSON object, got list"
    (source / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"], "model_type": "none"}')
    assert message(source).startswith("test: SOURCE: cannot make the model of its config.json: ")
    (source / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"], "model_type": "llama"}')
    assert message(source, FitError).endswith("transformers has no GPT2LMHeadModel for this checkpoint")
    source = tmp_path / "quantized"
    tiny_model("gpt2").save_pretrained(source)
    weights = load_file(source / "model.safetensors")
    save_file({**weights, name: weights[name].to(torch.int8)}, source / "model.safetensors")
    assert message(source, FitError).endswith("SOURCE stores [32, 48] of I8")
    del weights[name]
    save_file(weights, source / "model.safetensors")
    assert message(source, FitError).endswith(f"SOURCE stores neither {name} nor h.1.mlp.c_fc.weight; is it quantized?")


def test_code_in_a_checkpoint_is_not_run_nor_asked_about(tmp_path: Path, sharded: Path) -> None:
    edit = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25))
    source = broken(tmp_path / "source", sharded)
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}
    (source / "config.json").write_text(json.dumps(config))
    (source / "code.py").write_text("raise SystemExit('ran')")
    message = refused(edit, source, tmp_path / "target", EditError)
    assert message.startswith(f"test: {source}: cannot make the model of its config.json: ")


def test_a_target_that_is_in_the_way(tmp_path: Path, sharded: Path) -> None:
    edit = edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("full")
    for name in ("full", "file", "link"):
        message = refused(edit, sharded, tmp_path / name, EditError)
        assert message == f"{tmp_path / name}: expected a folder that is not there yet, or is empty"
    with pytest.raises(EditError, match="cannot write here: "):
        export(edit, sharded, tmp_path / "file" / "below")
    (tmp_path / "empty").mkdir()
    export(edit, sharded, tmp_path / "empty")
    export(edit, sharded, tmp_path / "a" / "b")
    assert stored(tmp_path / "empty") == stored(tmp_path / "a" / "b")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("./no/such/folder", "./no/such/folder: expected a file or folder"),
        ("no/such", "no/such: not in the hub's cache, and HF_HUB_OFFLINE"),
    ],
)
def test_a_base_model_that_is_not_there(model: str, expected: str) -> None:
    with pytest.raises(EditError) as caught:
        checkpoint_folder(model, HUB_FILES)
    assert str(caught.value).startswith(expected)


MEMORY = """
import sys
from pathlib import Path
from cti_edits.models.export import HUB_FILES, export
from cti_edits.hub.repositories import checkpoint_folder
from cti_edits.models.identity import tensor_sha256
from cti_edits.artifact.manifest import load
import cti_edits.models.base_matrices, torch, transformers
from cti_edits.models.checkpoint import folder_checkpoint
def peak():
    # Only Linux tells the peak of one process alone.
    lines = open("/proc/self/status") if sys.platform == "linux" else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
edit = load(sys.argv[1])
cti_edits.models.base_matrices.find_targets(edit, folder_checkpoint(Path(sys.argv[2])), Path(sys.argv[2]))
before = peak()
export(edit, Path(sys.argv[2]), Path(sys.argv[3]))
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    source = tmp_path / "source"
    model = tiny_model("llama", vocab_size=300_000)
    model.save_pretrained(source)
    size = (source / "model.safetensors").stat().st_size
    file = edit_of(model, ("U_in", 1, 2, 0.25)).write(tmp_path / "edit.json")
    words = [sys.executable, "-c", MEMORY, str(file), str(source), str(tmp_path / "target")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert size > 70e6
    assert int(done.stdout) < 35


def test_the_header_of_the_source_is_kept_with_its_metadata(tmp_path: Path, sharded: Path) -> None:
    export(edit_of(tiny_model("gpt2"), ("U_in", 1, 2, 0.25)), sharded, tmp_path / "target")
    for path in (tmp_path / "target").glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
