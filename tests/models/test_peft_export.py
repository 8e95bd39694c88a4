"""A LoRA adapter of an edit: PEFT itself loads it, and the model's logits are those of the edit applied.

How far they may be apart is `ROUNDINGS` of the dtype's eps, as a share of the largest logit: a layer with an adapter
rounds twice where the edited layer rounds once, and each layer after it carries that on. In float64 the errors of the
singular value decompositions come to that.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import BaseMismatchError, EditError, FitError
from cti_edits.linalg.factors import is_smaller
from cti_edits.models.apply import apply, target_matrix
from cti_edits.models.packing import pack
from cti_edits.models.peft_export import export_adapter
from tests.support.edits import directions_edit, edit_of, matrix_edit
from tests.support.tiny_models import tiny_model as wide_model

ROUNDINGS = {torch.float64: 32, torch.float32: 8, torch.float16: 8, torch.bfloat16: 8}
TOKENS = torch.arange(5, 165).reshape(4, 40)


def tiny_model(model_type: str, **settings: Any) -> Any:
    """With weights of a model's usual size, so that its layers do not magnify what a layer rounds."""
    return wide_model(model_type, spread=0.1, **settings)


def edit_with(model: Any, *edits: MatrixEdit, base_id: str = "tests/tiny") -> Edit:
    return dataclasses.replace(edit_of(model, base_id=base_id), edits=edits)


def mixed(model: Any) -> Edit:
    """Directions of a whole matrix and of row blocks, one of them without any, and rank cuts of both."""
    return edit_with(
        model,
        directions_edit(model, "U_in", 0, {(0, 0): 1.7, (0, 3): -0.5, (0, 31): 9.0}),
        directions_edit(model, "U_out", 1, {(0, 1): 0.1, (2, 0): 1.5, (2, 4): 0.0}, clusters=3),
        matrix_edit(model, "W_o", 1, 1, 0.8),
        matrix_edit(model, "U_in", 2, 2, 0.7),
    )


def adapter(edit: Edit, source: Path, target: Path, verify: bool = True) -> Path:
    return export_adapter(edit, source, target, str(source), verify=verify).folder


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(TOKENS).logits
    return found


def with_adapter(model: Any, folder: Path) -> Any:
    """The model with PEFT's adapter, of which PEFT says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return peft.PeftModel.from_pretrained(model, str(folder)).eval()


def check_logits(edit: Edit, source: Path, folder: Path, model: Any, dtype: torch.dtype = torch.float32) -> None:
    """Compare PEFT's model, and that with the adapter merged, with the edit applied to the same checkpoint."""

    def base() -> Any:
        return type(model).from_pretrained(source, dtype=dtype).eval()

    expected = base()
    unedited = logits(expected)
    apply(edit, expected)
    wanted = logits(expected)
    bound = ROUNDINGS[dtype] * torch.finfo(dtype).eps * float(wanted.abs().max())
    assert float((wanted - unedited).abs().max()) > (4 if dtype == torch.bfloat16 else 50) * bound
    adapted = with_adapter(base(), folder)
    assert float((logits(adapted) - wanted).abs().max()) <= bound
    merged = adapted.merge_and_unload()
    assert float((logits(merged) - wanted).abs().max()) <= bound
    assert merged.state_dict().keys() == expected.state_dict().keys()


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gptj", "roberta"])
def test_peft_gives_the_logits_of_the_edit(model_type: str, tmp_path: Path) -> None:
    model = tiny_model(model_type)
    model.save_pretrained(tmp_path / "base")
    edit = mixed(model)
    done = export_adapter(edit, tmp_path / "base", tmp_path / "adapter", str(tmp_path / "base"))
    names = tuple(f"{one.module}.weight" for one in edit.edits)
    assert (done.verified, done.files, done.edited) == (True, ("adapter_model.safetensors",), names)
    check_logits(edit, tmp_path / "base", tmp_path / "adapter", model)
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "README.md"
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_the_dtype_of_the_adapter(dtype: torch.dtype, tmp_path: Path) -> None:
    # Llama's norms are float32 in any dtype.
    model = tiny_model("gptj").to(dtype)
    model.save_pretrained(tmp_path / "base")
    edit = mixed(model)
    folder = adapter(edit, tmp_path / "base", tmp_path / "adapter")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert {tensor.dtype for tensor in load_file(folder / "adapter_model.safetensors").values()} == {wide}
    check_logits(edit, tmp_path / "base", folder, model, dtype)


def test_an_edit_that_was_made_in_another_dtype_than_the_checkpoint_s(tmp_path: Path) -> None:
    """The edit's float32 takes the float16 weights as they are, the adapter is that of float16 weights."""
    tiny_model("gptj").half().save_pretrained(tmp_path / "base")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    edit = mixed(model)
    folder = adapter(edit, tmp_path / "base", tmp_path / "adapter")
    check_logits(edit, tmp_path / "base", folder, model)


@pytest.mark.parametrize(
    ("matrices", "ranks"),
    [(("U_in",), {1: 1, 11: 2}), (("U_in", "W_o"), {layer: 1 + layer % 3 for layer in range(11)})],
    ids=["two", "many"],
)
def test_layer_1_is_not_layer_11(matrices: tuple[str, ...], ranks: dict[int, int], tmp_path: Path) -> None:
    """PEFT matches the ends of names and takes ranks by regular expressions; from 20 modules on it shortens names."""
    model = tiny_model("llama", num_hidden_layers=12)
    model.save_pretrained(tmp_path / "base")
    edits = [
        directions_edit(model, matrix, layer, {(0, index): 1.5 for index in range(rank)})
        for matrix in matrices
        for layer, rank in ranks.items()
    ]
    edit = edit_with(model, *edits)
    folder = adapter(edit, tmp_path / "base", tmp_path / "adapter")
    adapted = with_adapter(type(model).from_pretrained(tmp_path / "base"), folder)
    layers = {name: layer for name, layer in adapted.get_base_model().named_modules() if hasattr(layer, "lora_A")}
    assert {name: (layer.r["default"], layer.scaling["default"]) for name, layer in layers.items()} == {
        one.module: (len(one.index), 1.0) for one in edits
    }
    apply(edit, model)
    merged = adapted.merge_and_unload().state_dict()
    for name, tensor in model.state_dict().items():
        assert float((merged[name] - tensor).abs().max()) <= torch.finfo(torch.float32).eps * float(tensor.abs().max())


@pytest.mark.parametrize(("model_type", "task"), [("gpt2", "CAUSAL_LM"), ("roberta", None)])
def test_peft_reads_the_config_without_an_unknown_key(model_type: str, task: str | None, tmp_path: Path) -> None:
    model = tiny_model(model_type)
    model.save_pretrained(tmp_path / "base")
    edit = mixed(model)
    export_adapter(edit, tmp_path / "base", tmp_path / "adapter", "owner/base", "0123abc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = peft.PeftConfig.from_pretrained(str(tmp_path / "adapter"))
    assert isinstance(config, peft.LoraConfig)
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert written.keys() <= {field.name for field in dataclasses.fields(config)}
    assert (config.base_model_name_or_path, config.revision, config.task_type) == ("owner/base", "0123abc", task)
    assert (config.fan_in_fan_out, config.use_rslora) == (model_type == "gpt2", False)
    assert isinstance(config.target_modules, set)
    assert config.target_modules == {one.module for one in edit.edits}
    # The largest, for an engine that knows no patterns: its scale is 1 too.
    assert config.r == config.lora_alpha == max(config.rank_pattern.values())
    assert config.rank_pattern == config.alpha_pattern
    assert sorted(config.rank_pattern.values()) == [3, 3, 32 - 25, 2 * (24 - 16)]


def test_the_folder_alone_says_which_base_it_is_of(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.save_pretrained(tmp_path / "base")
    edit = mixed(model)
    folder = adapter(edit, tmp_path / "base", tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(str(folder)).eval()
    apply(edit, model)
    assert torch.allclose(logits(loaded), logits(model), atol=1e-5)


def test_packed_edits_are_exported_from_their_factors(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.save_pretrained(tmp_path / "base")
    file = mixed(model).write(tmp_path / "edit.json")
    pack(file, str(tmp_path / "base"))
    edit = load(file)
    assert all(one.factors for one in edit.edits)
    folder = adapter(edit, tmp_path / "base", tmp_path / "packed")
    check_logits(edit, tmp_path / "base", folder, model)
    # Of a cut the file has Ŵ; what is rounding in its difference from W is no rank of the adapter.
    assert ranks_of(folder) == ranks_of(adapter(mixed(model), tmp_path / "base", tmp_path / "adapter"))


def ranks_of(folder: Path) -> list[int]:
    return list(json.loads((folder / "adapter_config.json").read_text())["rank_pattern"].values())


def merged_weight(model: Any, source: Path, folder: Path, edit: Edit) -> torch.Tensor:
    merged = with_adapter(type(model).from_pretrained(source), folder).merge_and_unload()
    return target_matrix(merged, edit.edits[0].matrix, edit.edits[0].layer).weight


def test_rows_of_a_partition_go_where_they_belong(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "base")
    partition = "k-subspaces:" + "0110" * 12
    cut = matrix_edit(model, "U_in", 1, 2, 0.75)
    cut = dataclasses.replace(cut, partition=partition, block_ranks=block_ranks(cut.shape, 2, 0.75, partition))
    edit = edit_with(model, cut)
    check_logits(edit, tmp_path / "base", adapter(edit, tmp_path / "base", tmp_path / "adapter"), model)


def test_a_cut_between_equal_singular_values_is_that_of_apply(tmp_path: Path) -> None:
    """Any of them can be cut: which one is, only Ŵ itself says."""
    model = tiny_model("llama")
    with torch.no_grad():
        target_matrix(model, "U_in", 1).parameter.copy_(torch.eye(48, 32))
    model.save_pretrained(tmp_path / "base")
    edit = edit_of(model, ("U_in", 1, 1, 0.75))
    folder = adapter(edit, tmp_path / "base", tmp_path / "adapter")
    assert ranks_of(folder) == [8]
    apply(edit, model)
    found, wanted = merged_weight(model, tmp_path / "base", folder, edit), target_matrix(model, "U_in", 1).weight
    assert float((found - wanted).abs().max()) <= 4 * torch.finfo(torch.float32).eps


def test_the_same_edit_gives_the_same_bytes(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "base")
    first, second = (adapter(mixed(model), tmp_path / "base", tmp_path / name) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_matrix_that_keeps_all_of_its_ranks_has_no_part_in_the_adapter(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "base")
    edit = edit_of(model, ("U_in", 0, 2, 1.0), ("U_in", 1, 1, 0.75))
    folder = adapter(edit, tmp_path / "base", tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.1.mlp.gate_proj"]
    check_logits(edit, tmp_path / "base", folder, model)


# Refusals


def refused(edit: Edit, source: Path, target: Path, kind: type[EditError] = EditError, verify: bool = True) -> str:
    """The message of a refusal, after which nothing new is beside the target."""
    before = sorted(target.parent.iterdir())
    with pytest.raises(kind) as caught:
        adapter(edit, source, target, verify)
    assert sorted(target.parent.iterdir()) == before
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("places", [(), (("U_in", 0, 2, 1.0),)], ids=["empty", "all ranks kept"])
def test_an_edit_that_changes_nothing_is_no_adapter(
    places: Sequence[tuple[str, int, int, float]], base: Path, tmp_path: Path
) -> None:
    """PEFT refuses a config without modules, and a rank of 0."""
    assert refused(edit_of(tiny_model("llama"), *places), base, tmp_path / "adapter") == (
        "test: changes nothing, so that there is no adapter to write: use the base model"
    )


@pytest.mark.parametrize(("clusters", "rho", "rank"), [(1, 0.4, 20), (2, 0.5, 24), (1, 0.03125, 31)])
def test_a_cut_of_too_many_ranks(clusters: int, rho: float, rank: int, base: Path, tmp_path: Path) -> None:
    edit = edit_of(tiny_model("llama"), ("U_in", 1, clusters, rho))
    assert refused(edit, base, tmp_path / "adapter") == (
        f"test: edits[0]: the difference from the base has rank {rank}, so that an adapter of "
        f"model.layers.1.mlp.gate_proj would have {rank * 80:,} numbers, no fewer than the 1,536 of the matrix; "
        "format=checkpoint exports it"
    )


def test_the_largest_rank_that_has_fewer_numbers_is_written(base: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    assert is_smaller(48, 32, 19)
    edit = edit_of(model, ("U_in", 1, 1, 13 / 32))
    assert ranks_of(adapter(edit, base, tmp_path / "adapter")) == [19]
    # Packed, the rank is that of the difference itself.
    file = edit_of(model, ("U_in", 1, 1, 12 / 32)).write(tmp_path / "edit.json")
    pack(file, str(base))
    assert "the difference from the base has rank 20, so that" in refused(load(file), base, tmp_path / "other")


def test_another_base_is_refused_unless_told_otherwise(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit = edit_of(tiny_model("llama", seed=1), ("U_in", 1, 1, 0.75))
    message = refused(edit, base, tmp_path / "adapter", BaseMismatchError)
    assert "gate_proj.weight is not the tensor that this edit was made for" in message
    assert message.endswith("; verify=false exports it all the same")
    assert not caplog.records
    done = export_adapter(edit, base, tmp_path / "adapter", "owner/base", verify=False)
    assert (done.verified, caplog.messages) == (False, ["test: its base is not verified"])
    assert "**not verified**" in (done.folder / "README.md").read_text()


def test_a_base_that_cannot_be_verified_is_warned_of(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 1, 0.75))
    edit = dataclasses.replace(edit, edits=(dataclasses.replace(edit.edits[0], sha256=None),))
    assert not export_adapter(edit, base, tmp_path / "adapter", "owner/base").verified
    assert caplog.messages == ["test: its base is not verified"]


def test_directions_of_another_base_are_told_by_their_singular_values(base: Path, tmp_path: Path) -> None:
    other = directions_edit(tiny_model("llama", seed=1), "U_in", 1, {(0, 3): 2.0})
    edit = edit_with(tiny_model("llama"), other)
    assert refused(edit, base, tmp_path / "adapter", FitError, verify=False).startswith(
        "test: edits[0]: sigma: the edit was made where singular value 3 is "
    )


def test_a_target_that_is_in_the_way(base: Path, tmp_path: Path) -> None:
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 1, 0.75))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    assert refused(edit, base, tmp_path / "full") == (
        f"{tmp_path / 'full'}: expected a folder that is not there yet, or is empty"
    )
    (tmp_path / "empty").mkdir()
    adapter(edit, base, tmp_path / "empty")
