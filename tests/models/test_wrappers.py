"""Edits of models inside wrappers: PEFT's, torch.compile's, accelerate's hooks, data-parallel ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate  # type: ignore[import-untyped]
import peft
import pytest
import torch
import torch.distributed
import transformers
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import BaseMismatchError, FitError
from cti_edits.harness.base_config import model_kind
from cti_edits.harness.lm import EditedLM
from cti_edits.methods.factored_linear import FactoredLinear
from cti_edits.models.apply import applied, apply, model_family, target_matrices, target_matrix
from cti_edits.models.identity import checkpoint_of
from cti_edits.models.wrappers import inner_model
from tests.support.edits import edit_of
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model

TOKENS = torch.arange(10).reshape(1, -1) + 5
LAYER = {"llama": "model.layers.1.mlp.gate_proj", "gpt2": "transformer.h.1.mlp.c_fc"}


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=TOKENS).logits
    return logits


def edit_for(model_type: str = "llama") -> Edit:
    return edit_of(tiny_model(model_type), ("U_in", 1, 2, 0.2))


def with_adapter(model_type: str, *layers: str, **settings: Any) -> Any:
    """An adapter that does something, on ``layers``."""
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=list(layers), r=2, init_lora_weights=False, **settings)
    return peft.get_peft_model(tiny_model(model_type), config).eval()


def compiled(model: Any, backend: str = "eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(model, backend=backend)


def hooked(model: Any) -> Any:
    return accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)


@pytest.fixture
def one_process() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPED: dict[str, Callable[[], Any]] = {
    "adapter on the edited layer": lambda: with_adapter("llama", "gate_proj"),
    "adapter on another layer": lambda: with_adapter("llama", "q_proj"),
    "adapter with magnitudes": lambda: with_adapter("llama", "gate_proj", use_dora=True),
    "compiled": lambda: compiled(tiny_model("llama")),
    "compiled to aot": lambda: compiled(tiny_model("llama"), "aot_eager"),
    "compiled adapter": lambda: compiled(with_adapter("llama", "gate_proj")),
    "data parallel": lambda: torch.nn.DataParallel(tiny_model("llama")),
    "hooks on one device": lambda: hooked(tiny_model("llama")),
    "data parallel, compiled": lambda: torch.nn.DataParallel(compiled(tiny_model("llama"))),
}


def changes_and_reverts(edit: Edit, model: Any, factorize: bool = False) -> None:
    """The edit is in force in what the wrapper answers, and gone after."""
    before = answers(model)
    with applied(edit, model, factorize=factorize) as in_force:
        assert in_force.verified
        assert in_force.factorized == ((edit.edits[0].module,) if factorize else ())
        edited = answers(model)
        assert (edited - before).abs().max() > 1e-3
    assert torch.equal(answers(model), before)
    # Again, now that it has been compiled for either.
    with applied(edit, model, factorize=factorize):
        assert torch.equal(answers(model), edited)
    assert torch.equal(answers(model), before)


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_an_edit_inside_a_wrapper_is_in_force_and_reverted(wrapped: str) -> None:
    model = WRAPPED[wrapped]()
    changes_and_reverts(edit_for(), model)
    inner = inner_model(model)
    assert type(inner) is transformers.LlamaForCausalLM
    assert model_family(model) is model_family(inner)
    assert len(target_matrices(model, ("U_in", "W_q"))) == 6
    assert model_kind(model, None, {}) == "causal"


@pytest.mark.parametrize("wrapped", [name for name in WRAPPED if "adapter" not in name and "aot" not in name])
def test_factors_inside_a_wrapper_are_in_force_and_reverted(wrapped: str) -> None:
    changes_and_reverts(edit_for(), WRAPPED[wrapped](), factorize=True)


@pytest.mark.parametrize("factorize", [False, True])
def test_a_model_that_was_compiled_in_place(factorize: bool) -> None:
    torch._dynamo.reset()
    model = tiny_model("llama")
    model.compile(backend="eager")
    changes_and_reverts(edit_for(), model, factorize)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_whose_weights_are_constants_is_refused_in_one_line(
    in_place: bool,
) -> None:
    """Compiled so, it would answer as before, in silence."""
    from torch._inductor import config

    model = tiny_model("llama")
    if in_place:
        model.compile()
    with config.patch("freezing", True), pytest.raises(FitError) as caught:
        apply(edit_for(), model if in_place else compiled(model))
    assert str(caught.value) == (
        "test: the model is compiled with torch._inductor.config.freezing, which makes constants of its weights; "
        "turn that off, or apply the edit before torch.compile"
    )
    assert apply(edit_for(), tiny_model("llama")).verified


@pytest.mark.parametrize("factorize", [False, True])
@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel(factorize: bool) -> None:
    changes_and_reverts(edit_for(), DistributedDataParallel(tiny_model("llama")), factorize)


@pytest.mark.usefixtures("one_process")
def test_a_weight_that_is_sharded_is_refused_in_one_line() -> None:
    model = tiny_model("llama")
    layer = model.get_submodule(LAYER["llama"])
    mesh = init_device_mesh("cpu", (1,))
    layer.weight = torch.nn.Parameter(distribute_tensor(layer.weight.detach(), mesh))
    with pytest.raises(FitError, match=r"edits\[0\]\.module: .*gate_proj is sharded over several devices"):
        apply(edit_for(), model, verify=False)


# Adapters


def test_an_edit_under_an_adapter_changes_the_base_s_own_weight() -> None:
    """GPT-2 keeps (inputs, outputs), which the adapter's layer does not say of itself."""
    model, plain = with_adapter("gpt2", "c_fc"), tiny_model("gpt2")
    edit = edit_for("gpt2")
    apply(edit, model)
    apply(edit, plain)
    own = model.get_base_model().get_submodule(LAYER["gpt2"]).get_base_layer()
    assert type(own).__name__ == "Conv1D"
    assert torch.equal(own.weight, plain.get_submodule(LAYER["gpt2"]).weight)
    with model.disable_adapter():
        assert torch.equal(answers(model), answers(plain))
    assert not torch.equal(answers(model), answers(plain))


def test_a_merged_adapter_is_refused_until_it_is_unmerged() -> None:
    model = with_adapter("llama", "gate_proj")
    model.merge_adapter()
    for verify in (True, False):
        with pytest.raises(FitError) as caught:
            apply(edit_for(), model, verify=verify)
        assert str(caught.value) == (
            f"test: edits[0].module: an adapter is merged into {LAYER['llama']}, whose weights are not the base "
            "model's; call unmerge_adapter() first"
        )
    model = with_adapter("llama", "q_proj")
    model.merge_adapter()
    assert apply(edit_for(), model).verified


def test_a_model_with_an_adapter_merged_for_good_is_another_base(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "llama")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    config = peft.LoraConfig(target_modules=["gate_proj"], r=2, init_lora_weights=False)
    model = peft.get_peft_model(base, config).merge_and_unload()
    with pytest.raises(BaseMismatchError, match="what is in memory is not that one, cast: it was changed"):
        apply(edit_for(), model)


def test_a_layer_that_was_trained_with_the_adapter_is_refused() -> None:
    model = with_adapter("llama", "q_proj", modules_to_save=["gate_proj"])
    with pytest.raises(FitError, match=r"edits\[0\]\.module: .*gate_proj was trained with the adapter"):
        apply(edit_for(), model)


def test_factors_under_an_adapter() -> None:
    """They would take the matrix away from it; beside it they are fine."""
    model = with_adapter("llama", "gate_proj")
    before = answers(model)
    with pytest.raises(FitError, match=r"edits\[0\]\.module: .*gate_proj has an adapter, .*; leave factorize out"):
        apply(edit_for(), model, factorize=True)
    assert torch.equal(answers(model), before)
    changes_and_reverts(edit_for(), with_adapter("llama", "q_proj"), factorize=True)


def test_an_adapter_that_transformers_loads_with_its_base(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "base", "llama")
    adapter = with_adapter("llama", "gate_proj")
    adapter.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapter.save_pretrained(tmp_path / "adapter")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16)
    found = checkpoint_of(model)
    assert found is not None
    assert found.place == str(tmp_path / "base")
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.2))
    assert apply(edit, model).verified


def test_the_lm_eval_model_takes_a_wrapped_model(tmp_path: Path) -> None:
    path = edit_for().write(tmp_path / "edit.json")
    for model in (with_adapter("llama", "gate_proj"), compiled(tiny_model("llama"))):
        before = answers(model)
        lm = EditedLM(edit=str(path), pretrained=model, tokenizer=byte_tokenizer(), device="cpu")
        assert lm.applied_edit is not None
        assert lm.applied_edit.verified
        assert (answers(model) - before).abs().max() > 1e-3


# accelerate


def offloaded_to_disk(tmp_path: Path) -> Any:
    save_checkpoint(tmp_path / "base", "llama")
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    layers = {f"model.layers.{layer}": "disk" if layer == 1 else "cpu" for layer in range(3)}
    return transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", device_map={**places, **layers}, offload_folder=str(tmp_path / "offloaded")
    )


def offloaded_to_cpu(tmp_path: Path) -> Any:
    return accelerate.cpu_offload(tiny_model("llama"), execution_device=torch.device("cpu"))


@pytest.mark.parametrize("factorize", [False, True])
@pytest.mark.parametrize("made", [offloaded_to_disk, offloaded_to_cpu])
def test_a_weight_that_is_offloaded_is_refused_in_one_line(
    made: Callable[[Path], Any], factorize: bool, tmp_path: Path
) -> None:
    model = made(tmp_path)
    assert target_matrix(model, "U_in", 1).parameter.is_meta
    before = answers(model)
    for verify in (True, False):
        with pytest.raises(FitError) as caught:
            apply(edit_for(), model, verify, factorize)
        assert str(caught.value) == (
            f"test: edits[0].module: the weight of {LAYER['llama']} is offloaded by accelerate (device_map) and is "
            "copied to its device at each call; load the model without offloading"
        )
    assert torch.equal(answers(model), before)


def test_a_layer_beside_those_that_are_offloaded_is_edited(tmp_path: Path) -> None:
    model = offloaded_to_disk(tmp_path)
    changes_and_reverts(edit_of(tiny_model("llama"), ("U_in", 0, 2, 0.2)), model)


def test_factors_keep_the_hook_of_the_layer_whose_place_they_take() -> None:
    model = hooked(tiny_model("llama"))
    hook = model.get_submodule(LAYER["llama"])._hf_hook
    with applied(edit_for(), model, factorize=True):
        layer = model.get_submodule(LAYER["llama"])
        assert isinstance(layer, FactoredLinear)
        assert layer._hf_hook.execution_device == hook.execution_device  # type: ignore[union-attr]
    assert model.get_submodule(LAYER["llama"])._hf_hook is hook
