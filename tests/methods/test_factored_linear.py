"""The layer that runs factors, alone and in a model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.artifact.manifest import load
from cti_edits.errors import EditError, FitError
from cti_edits.harness.lm import EditedLM
from cti_edits.linalg.factors import LowRank, factored_blocks
from cti_edits.linalg.lowrank import truncate
from cti_edits.methods.factored_linear import FactoredLinear
from cti_edits.models.apply import applied, apply
from cti_edits.models.packing import pack
from tests.support.edits import edit_of
from tests.support.tiny_models import EVERY, save_checkpoint, tiny_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SUBSPACES = "k-subspaces:" + "0120" * 12
TOKENS = torch.arange(8, 24)[None]


def conv1d(linear: torch.nn.Linear) -> torch.nn.Module:
    from transformers.pytorch_utils import Conv1D

    layer: torch.nn.Module = Conv1D(linear.out_features, linear.in_features).to(linear.weight.dtype)
    layer.weight = torch.nn.Parameter(linear.weight.detach().T.contiguous())
    layer.bias = linear.bias
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("partition", ["row-blocks", SUBSPACES])
@pytest.mark.parametrize("inputs", [(20,), (1, 20), (2, 5, 20), (0, 20)])
@pytest.mark.parametrize("kind", ["linear", "no bias", "conv1d"])
def test_the_layer_gives_what_the_dense_edited_layer_gives(
    kind: str, inputs: tuple[int, ...], partition: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(20, 48, bias=kind != "no bias", dtype=dtype)
    blocks = factored_blocks(linear.weight, (2, 3, 10), partition)
    assert [isinstance(block, LowRank) for block in blocks].count(True) >= 2
    layer = FactoredLinear(blocks, partition, conv1d(linear) if kind == "conv1d" else linear)
    assert (layer.in_features, layer.out_features) == (20, 48)
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    expected = copy.deepcopy(linear)
    with torch.no_grad():
        expected.weight.copy_(truncate(linear.weight, (2, 3, 10), partition=partition))
    x = torch.randn(inputs, dtype=dtype)
    unit = torch.finfo(dtype).eps
    found = layer(x)
    assert found.shape == (*inputs[:-1], 48)
    assert found.dtype == dtype
    # In float64 the two come of two decompositions.
    torch.testing.assert_close(found, expected(x), rtol=4 * unit, atol=(200 if dtype == torch.float64 else 8) * unit)


def test_the_layer_is_as_trainable_as_the_one_whose_place_it_takes() -> None:
    linear = torch.nn.Linear(20, 48)
    layer = FactoredLinear(factored_blocks(linear.weight, (2, 3)), "row-blocks", linear.eval())
    assert not layer.training
    layer(torch.randn(3, 20)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert layer.bias is linear.bias
    linear.requires_grad_(False)
    layer = FactoredLinear(factored_blocks(linear.weight, (2, 3)), "row-blocks", linear)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_what_the_layer_says_of_itself() -> None:
    linear = torch.nn.Linear(20, 48)
    layer = FactoredLinear(factored_blocks(linear.weight, (2, 17)), "row-blocks", linear)
    assert "FactoredLinear(\n  in_features=20, out_features=48, ranks=(2, dense)" in str(layer)


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=TOKENS).logits
    return found


@pytest.mark.parametrize("model_type", EVERY)
def test_a_factorized_model_answers_as_the_dense_edited_one_and_has_fewer_parameters(model_type: str) -> None:
    model = tiny_model(model_type).double()
    edit = edit_of(model, ("U_in", 1, 2, 0.2), ("W_o", 0, 2, 0.9), ("U_out", 2, 3, 0.1))
    plain, count = logits(model), parameters(model)
    with applied(edit, model):
        expected = logits(model)
    modules = dict(model.named_modules())
    in_force = apply(edit, model, factorize=True)
    assert in_force.verified
    # At ρ = 0.9 factors would have more numbers: that matrix is edited as a dense one.
    assert in_force.factorized == (edit.edits[0].module, edit.edits[2].module)
    assert parameters(model) < count
    assert [type(model.get_submodule(one.module)) is FactoredLinear for one in edit.edits] == [True, False, True]
    torch.testing.assert_close(logits(model), expected, rtol=1e-9, atol=1e-9)
    in_force.revert()
    assert torch.equal(logits(model), plain)
    assert not torch.equal(expected, plain)
    assert all(model.get_submodule(name) is module for name, module in modules.items())
    in_force.revert()
    assert parameters(model) == count


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_factorized_model_is_near_the_dense_one_in_its_dtype(dtype: torch.dtype) -> None:
    model = tiny_model("llama", spread=0.05).to(dtype)
    edit = edit_of(model, ("U_in", 1, 2, 0.2), ("U_out", 2, 3, 0.1))
    with applied(edit, model):
        expected = logits(model)
    with applied(edit, model, factorize=True):
        found = logits(model)
    unit = torch.finfo(dtype).eps
    torch.testing.assert_close(found, expected, rtol=0, atol=8 * unit * float(expected.abs().max()))


def test_a_second_edit_on_a_factorized_layer_is_refused_by_what_is_there() -> None:
    model = tiny_model("llama")
    edit = edit_of(model, ("U_in", 1, 2, 0.2))
    with (
        applied(edit, model, factorize=True),
        pytest.raises(FitError, match="to hold a floating-point matrix, got FactoredLinear"),
    ):
        apply(edit, model)


def test_a_model_whose_former_weights_were_not_kept_cannot_be_reverted() -> None:
    model = tiny_model("llama")
    edit = edit_of(model, ("U_in", 1, 2, 0.2), ("W_o", 1, 1, 0.9))
    in_force = apply(edit, model, factorize=True, revertible=False)
    with pytest.raises(EditError, match="test: cannot be reverted, the former weights were dropped"):
        in_force.revert()


# Through lm-eval's models


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An edit of a causal and of a masked checkpoint."""
    found = {}
    for model_type in ("gpt2", "roberta"):
        folder = save_checkpoint(tmp_path_factory.mktemp(model_type), model_type)
        edit = edit_of(tiny_model(model_type), ("U_in", 1, 2, 0.2), ("W_o", 0, 2, 0.9), base_id=str(folder))
        found[model_type] = edit.write(folder / "edit.json")
    return found


def run(path: Path, **arguments: Any) -> Any:
    return EditedLM.create_from_arg_obj({"edit": str(path), **arguments}, {"device": "cpu"})


def answers(lm: Any) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance

    context = "The capital is <mask>." if lm.kind == "masked" else "The capital is"
    requests = [Instance("loglikelihood", {}, (context, answer), 0) for answer in (" A", " B", " C")]
    found: list[tuple[float, bool]] = lm.loglikelihood(requests, disable_tqdm=True)
    return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("model_type", ["gpt2", "roberta"])
def test_factorize_runs_the_factors_in_both_kinds_of_model(
    model_type: str, packed: bool, places: dict[str, Path], tmp_path: Path
) -> None:
    path = load(places[model_type]).write(tmp_path / "edit.json")
    if packed:
        pack(path)
    dense, factorized = run(path), run(path, factorize=True)
    info: dict[str, Any] = factorized.get_model_info()
    module = load(path).edits[0].module
    assert (info["edit"]["factorize"], info["edit"]["factorized"]) == (True, [module])
    assert info["model_num_parameters"] < dense.get_model_info()["model_num_parameters"]
    assert isinstance(factorized.model.get_submodule(module), FactoredLinear)
    for one, other in zip(answers(factorized), answers(dense), strict=True):
        assert one[0] == pytest.approx(other[0], rel=1e-4)
    # Nobody reverts an lm-eval model, and the former matrices would take memory.
    for lm in (factorized, dense):
        with pytest.raises(EditError, match="the former weights were dropped"):
            lm.applied_edit.revert()


def test_factorized_and_dense_runs_do_not_share_cached_responses(places: dict[str, Path], tmp_path: Path) -> None:
    from lm_eval.api.model import CachingLM

    tables = set()
    for factorize in (False, True):
        lm = run(places["gpt2"], factorize=factorize)
        CachingLM(lm, str(tmp_path / "cache.db"))
        tables.add(lm.cache_hook.dbdict.tablename)
    assert len(tables) == 2


def test_factors_that_are_not_there_are_one_line(places: dict[str, Path], tmp_path: Path) -> None:
    path = load(places["gpt2"]).write(tmp_path / "edit.json")
    pack(path)
    (tmp_path / "test.safetensors").unlink()
    with pytest.raises(EditError, match=r"edit\.json: test: edits\[0\]\.factors: .* No such file") as caught:
        run(path)
    assert "\n" not in str(caught.value)
