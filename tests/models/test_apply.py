from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import Factors, MatrixEdit
from cti_edits.errors import BaseMismatchError, EditError, FactorsError, FitError
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import (
    AppliedEdit,
    applied,
    apply,
    bind,
    model_family,
    target_matrices,
    target_matrix,
)
from cti_edits.models.identity import tensor_sha256
from tests.support.edits import cuts, matrix_edit, plugin_edit
from tests.support.tiny_models import EVERY, INNER, LAYERS, WIDTH, tiny_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def edit_of(model: Any, *edits: MatrixEdit, **base: Any) -> Edit:
    dtype = str(model.dtype).removeprefix("torch.")
    settings = {"id": "tiny", "revision": None, "architecture": type(model).__name__, "dtype": dtype, **base}
    return Edit(name="tried", description="", base_model=BaseModel(**settings), edits=edits)


def changed(edit: Edit, index: int, **values: Any) -> Edit:
    """``edit`` with other values in one of its matrix edits."""
    entries = list(edit.edits)
    entries[index] = dataclasses.replace(entries[index], **values)
    return dataclasses.replace(edit, edits=tuple(entries))


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def snapshot(model: Any) -> dict[str, bytes]:
    return {name: bits(tensor) for name, tensor in model.state_dict().items()}


def differing(model: Any, former: dict[str, bytes]) -> set[str]:
    return {name for name, content in snapshot(model).items() if content != former[name]}


def refused(
    edit: Edit, model: Any, kind: type[Exception] = FitError, verify: bool = True, call: Callable[..., Any] = apply
) -> str:
    """The message of a refusal, which is one line, names the edit, and leaves every weight as it was."""
    former = snapshot(model)
    with pytest.raises(kind) as caught:
        call(edit, model, verify)
    assert caught.type is kind
    assert differing(model, former) == set()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("tried: ")
    return message.removeprefix("tried: ")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model_type", EVERY)
def test_apply_truncates_the_named_matrices_alone_and_revert_restores_every_bit(
    model_type: str, dtype: torch.dtype
) -> None:
    model = tiny_model(model_type).to(dtype)
    edit = edit_of(model, matrix_edit(model, "U_in", 0, 3), matrix_edit(model, "W_o", 2, 2, 0.1))
    targets = [target_matrix(model, m.matrix, m.layer) for m in edit.edits]
    expected = [truncate(t.weight.clone(), m.block_ranks) for t, m in zip(targets, cuts(edit), strict=True)]
    former = snapshot(model)
    places = [(t.parameter, t.parameter.data_ptr(), t.parameter.requires_grad) for t in targets]
    in_force = apply(edit, model)
    assert (in_force.edit, in_force.verified) == (edit, True)
    assert differing(model, former) == {f"{target.module}.weight" for target in targets}
    for target, weight in zip(targets, expected, strict=True):
        now = target_matrix(model, target.matrix, target.layer)
        assert now.parameter.dtype == dtype
        assert bits(now.weight) == bits(weight)
    in_force.revert()
    assert differing(model, former) == set()
    for target, (parameter, address, required) in zip(targets, places, strict=True):
        now = model.get_submodule(target.module).weight
        assert (now is parameter, now.data_ptr(), now.requires_grad) == (True, address, required)


@pytest.mark.parametrize("matrix", ["W_o", "U_in", "U_out"])
def test_the_rows_of_gpt2_are_its_output_features(matrix: str) -> None:
    model = tiny_model("gpt2")
    weight = target_matrix(model, matrix, 1).parameter
    as_it_lies = weight.detach().double().numpy().copy()
    entry = matrix_edit(model, matrix, 1, clusters=2)
    assert entry.shape == as_it_lies.T.shape
    apply(edit_of(model, entry), model)

    def reference(rows: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        parts = []
        for block, rank in zip(np.array_split(rows, 2), entry.block_ranks, strict=True):
            U, S, Vh = np.linalg.svd(block, full_matrices=False)
            parts.append((U[:, :rank] * S[:rank]) @ Vh[:rank])
        return np.concatenate(parts)

    found = weight.detach().double().numpy()
    np.testing.assert_allclose(found, reference(as_it_lies.T).T, atol=1e-6)
    assert np.abs(found - reference(as_it_lies)).max() > 0.01


def test_conv1d_and_linear_agree_on_the_output_of_an_edited_layer() -> None:
    """The edited GPT-2 layer maps inputs as the edited (outputs, inputs) matrix does."""
    model = tiny_model("gpt2").double()
    entry = matrix_edit(model, "W_o", 0, clusters=2)
    target = target_matrix(model, "W_o", 0)
    expected = truncate(target.weight.clone(), entry.block_ranks)
    inputs = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    module = model.get_submodule(target.module)
    apply(edit_of(model, entry), model)
    with torch.no_grad():
        torch.testing.assert_close(module(inputs), torch.nn.functional.linear(inputs, expected, module.bias))


@pytest.mark.parametrize("dtype", DTYPES)
def test_revert_restores_signed_zeros_and_may_be_called_again(dtype: torch.dtype) -> None:
    model = tiny_model("llama").to(dtype)
    weight = target_matrix(model, "U_out", 1).parameter
    with torch.no_grad():
        weight[0, :3] = torch.tensor([-0.0, 0.0, torch.finfo(dtype).smallest_normal / 2])
    former = snapshot(model)
    in_force = apply(edit_of(model, matrix_edit(model, "U_out", 1)), model)
    in_force.revert()
    assert differing(model, former) == set()
    with torch.no_grad():
        weight.zero_()
    in_force.revert()
    assert not weight.any()


def test_applied_is_in_force_inside_and_gone_after() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "U_in", 1))
    former = snapshot(model)
    with applied(edit, model) as in_force:
        assert isinstance(in_force, AppliedEdit)
        assert differing(model, former) == {"transformer.h.1.mlp.fc_in.weight"}
    assert differing(model, former) == set()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_applied_reverts_when_the_body_raises(error: type[BaseException]) -> None:
    model = tiny_model("gptj").bfloat16()
    edit = edit_of(model, matrix_edit(model, "U_in", 1), matrix_edit(model, "W_q", 0))
    former = snapshot(model)
    inside: list[int] = []

    def body() -> None:
        with applied(edit, model):
            inside.append(len(differing(model, former)))
            raise error

    with pytest.raises(error):
        body()
    assert inside == [2]
    assert differing(model, former) == set()


def test_applied_passes_verify_on() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, dataclasses.replace(matrix_edit(model, "U_in", 1), sha256="0" * 64))
    with pytest.raises(BaseMismatchError), applied(edit, model):
        pass
    with applied(edit, model, verify=False) as in_force:
        assert not in_force.verified


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("matrices", [(), ("U_in", "W_o")])
def test_an_edit_that_cuts_nothing_changes_no_bit(matrices: tuple[str, ...], dtype: torch.dtype) -> None:
    model = tiny_model("gpt2").to(dtype)
    former = snapshot(model)
    edit = edit_of(model, *(matrix_edit(model, matrix, 1, clusters=3, rho=1.0) for matrix in matrices))
    in_force = apply(edit, model)
    assert differing(model, former) == set()
    in_force.revert()
    assert differing(model, former) == set()


def test_bind_changes_nothing_and_returns_the_targets_in_order() -> None:
    model = tiny_model("qwen3")
    edit = edit_of(model, matrix_edit(model, "W_k", 2), matrix_edit(model, "U_up", 0))
    former = snapshot(model)
    targets = bind(edit, model)
    assert [(t.matrix, t.layer, t.module) for t in targets] == [
        ("W_k", 2, "model.layers.2.self_attn.k_proj"),
        ("U_up", 0, "model.layers.0.mlp.up_proj"),
    ]
    assert differing(model, former) == set()


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"layer": LAYERS, "module": f"transformer.h.{LAYERS}.mlp.fc_out"},
        f"edits[1].layer: expected 0 to {LAYERS - 1} (the model has {LAYERS} layers), got {LAYERS}",
    ),
    ({"layer": -1}, "edits[1].layer: expected 0 or more, got -1"),
    (
        {"shape": (WIDTH + 1, INNER)},
        (
            f"edits[1].shape: the edit is for [{WIDTH + 1}, {INNER}] (rows, columns), "
            f"transformer.h.1.mlp.fc_out of this model has [{WIDTH}, {INNER}]"
        ),
    ),
    ({"shape": (INNER, WIDTH)}, f"edits[1].shape: the edit is for [{INNER}, {WIDTH}] (rows, columns), "),
    (
        {"module": "transformer.h.2.mlp.fc_out"},
        (
            "edits[1].module: U_out of layer 1 is transformer.h.1.mlp.fc_out in this model, "
            "the edit names transformer.h.2.mlp.fc_out"
        ),
    ),
    (
        {"matrix": "U_up"},
        "edits[1].matrix: the gptj family has no matrix 'U_up'",
    ),
]


@pytest.mark.parametrize("call", [bind, apply])
@pytest.mark.parametrize(("values", "message"), WRONG)
def test_one_matrix_that_does_not_fit_leaves_both_untouched(
    values: dict[str, Any], message: str, call: Callable[..., Any]
) -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1))
    assert refused(changed(edit, 1, **values), model, call=call).startswith(message)
    bind(edit, model)


@pytest.mark.parametrize("call", [bind, apply])
def test_another_architecture(call: Callable[..., Any]) -> None:
    model = tiny_model("mistral")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), architecture="LlamaForCausalLM")
    assert refused(edit, model, call=call) == (
        "base_model.architecture: the edit is for LlamaForCausalLM, the model is a MistralForCausalLM"
    )
    assert refused(edit_of(model, architecture="LlamaForCausalLM"), model).startswith("base_model.architecture: ")


def test_a_model_of_an_unknown_family() -> None:
    model = tiny_model("llama")
    edit = edit_of(model, matrix_edit(model, "U_in", 0))
    model.config.model_type = "unheard-of"
    message = refused(edit, model)
    assert message.startswith("base_model.architecture: no architecture file covers the model type 'unheard-of'")


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), torch.nn.Sequential()])
def test_what_is_no_transformers_model(model: torch.nn.Module) -> None:
    with pytest.raises(FitError, match=r"expected a transformers model, got one without config\.model_type"):
        model_family(model)


@pytest.mark.parametrize("call", [bind, apply])
@pytest.mark.parametrize("index", [0, 1])
def test_another_base_is_refused_by_tensor_expected_and_found(index: int, call: Callable[..., Any]) -> None:
    model = tiny_model("gpt2")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1))
    weight = target_matrix(model, edit.edits[index].matrix, edit.edits[index].layer).parameter
    with torch.no_grad():
        weight[0, 0] += 1e-3
    message = refused(edit, model, BaseMismatchError, call=call)
    assert message == (
        f"edits[{index}].sha256: {edit.edits[index].module}.weight is not the tensor that this edit was made for "
        f"(expected {edit.edits[index].sha256}, found {tensor_sha256(weight)}); verify=false applies it all the same"
    )


def test_a_transposed_square_weight_is_another_base() -> None:
    model = tiny_model("gpt2")
    edit = edit_of(model, matrix_edit(model, "W_o", 0))
    weight = target_matrix(model, "W_o", 0).parameter
    with torch.no_grad():
        weight.copy_(weight.T.clone())
    refused(edit, model, BaseMismatchError)


def test_verify_false_applies_to_another_base_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("gpt2")
    edit = edit_of(model, dataclasses.replace(matrix_edit(model, "U_in", 0), sha256="0" * 64))
    former = snapshot(model)
    with caplog.at_level(logging.WARNING, logger="cti_edits"):
        in_force = apply(edit, model, verify=False)
    assert not in_force.verified
    assert differing(model, former) == {"transformer.h.0.mlp.c_fc.weight"}
    assert caplog.messages == ["tried: applied without verifying its base (verify=false)"]


def test_verify_false_skips_no_other_check() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1))
    for values, message in WRONG:
        assert refused(changed(edit, 1, **values), model, verify=False).startswith(message)
    refused(dataclasses.replace(edit, base_model=BaseModel("tiny", None, "Other", None)), model, verify=False)


def test_an_edit_without_hashes_applies_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("gpt2")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 2))
    edit = changed(edit, 1, sha256=None)
    with caplog.at_level(logging.WARNING, logger="cti_edits"):
        in_force = apply(edit, model)
    assert not in_force.verified
    assert caplog.messages == ["tried: has no sha256 for transformer.h.2.mlp.c_proj: its base was not verified"]
    assert caplog.records[0].levelno == logging.WARNING


def test_a_verified_edit_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("gpt2")
    with caplog.at_level(logging.WARNING, logger="cti_edits"):
        assert apply(edit_of(model, matrix_edit(model, "U_in", 0)), model).verified
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("recorded", "loaded"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float64),
        (torch.float32, torch.float64),
    ],
)
def test_a_base_in_a_wider_dtype_verifies(recorded: torch.dtype, loaded: torch.dtype) -> None:
    model = tiny_model("gpt2").to(recorded)
    edit = edit_of(model, matrix_edit(model, "U_out", 1))
    model = model.to(loaded)
    expected = truncate(target_matrix(model, "U_out", 1).weight.clone(), cuts(edit)[0].block_ranks)
    assert apply(edit, model).verified
    assert bits(target_matrix(model, "U_out", 1).weight) == bits(expected)


@pytest.mark.parametrize(
    ("recorded", "loaded"),
    [(torch.float32, torch.bfloat16), (torch.float32, torch.float16), (torch.float16, torch.bfloat16)],
)
def test_a_base_in_a_narrower_dtype_does_not_and_the_hint_names_both(
    recorded: torch.dtype, loaded: torch.dtype
) -> None:
    model = tiny_model("gpt2").to(recorded)
    edit = edit_of(model, matrix_edit(model, "U_out", 1))
    message = refused(edit, model.to(loaded), BaseMismatchError)
    hint = (
        f"; it is loaded as {str(loaded).removeprefix('torch.')}, "
        f"the edit was made for dtype={edit.base_model.dtype}); verify=false"
    )
    assert hint in message


def test_without_a_recorded_dtype_the_tensor_is_hashed_as_it_is() -> None:
    model = tiny_model("gpt2").bfloat16()
    edit = edit_of(model, matrix_edit(model, "U_out", 1), dtype=None)
    assert apply(edit, model).verified
    model = tiny_model("gpt2").bfloat16().float()
    assert "loaded as" not in refused(edit, model, BaseMismatchError)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("rho", [0.25, 1.0])
def test_a_weight_that_is_not_finite(value: float, verify: bool, rho: float) -> None:
    model = tiny_model("gptj")
    with torch.no_grad():
        target_matrix(model, "U_out", 1).parameter[3, 5] = value
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1, rho=rho))
    assert refused(edit, model, verify=verify) == (
        "edits[1].module: the weight of transformer.h.1.mlp.fc_out holds NaN or infinite values"
    )


class Packed(torch.nn.Module):
    """A quantized layer keeps integers."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False)


class Buffered(torch.nn.Module):
    """A weight that is no parameter would not be found by whoever saves or moves the model's parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(WIDTH, INNER))


@pytest.mark.parametrize(
    "module",
    [
        Packed((WIDTH, INNER), torch.uint8),
        Packed((WIDTH * INNER,), torch.float32),
        Packed((1, WIDTH, INNER), torch.float32),
        torch.nn.Identity(),
        Buffered(),
    ],
)
def test_a_module_that_is_no_plain_matrix(module: torch.nn.Module) -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1))
    model.transformer.h[1].mlp.fc_out = module
    assert refused(edit, model) == (
        "edits[1].module: expected transformer.h.1.mlp.fc_out to hold a floating-point matrix, "
        f"got {type(module).__name__}"
    )


def test_a_layer_without_the_module() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1))
    del model.transformer.h[1].mlp.fc_out
    assert refused(edit, model) == (
        "edits[1].matrix: layer 1 has no U_out (it has U_in, W_q, W_k, W_v, W_o; layers with one: 0, 2)"
    )


def test_a_linear_layer_where_the_family_has_conv1d() -> None:
    model = tiny_model("gpt2")
    edit = edit_of(model, matrix_edit(model, "W_o", 1))
    model.transformer.h[1].attn.c_proj = torch.nn.Linear(WIDTH, WIDTH)
    assert refused(edit, model) == (
        "edits[0].module: the gpt2 architecture file says that weight rows are inputs, "
        "but transformer.h.1.attn.c_proj is a Linear"
    )


def test_a_conv1d_where_the_family_has_linear_layers() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "W_o", 1))
    model.transformer.h[1].attn.out_proj = tiny_model("gpt2").transformer.h[1].attn.c_proj
    assert refused(edit, model) == (
        "edits[0].module: the gptj architecture file says that weight rows are outputs, "
        "but transformer.h.1.attn.out_proj is a Conv1D"
    )


def test_an_unknown_method() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, plugin_edit(matrix_edit(model, "U_in", 0)))
    assert refused(edit, model, EditError) == (
        "edits[0]: method: 'magic' is not known here: it is a plugin's, of the distribution 'cti-edits-magic', "
        "which is not installed or did not load"
    )


def test_ranks_that_cannot_be_leave_both_untouched() -> None:
    model = tiny_model("gptj")
    edit = edit_of(model, matrix_edit(model, "U_in", 0), matrix_edit(model, "U_out", 1))
    former = snapshot(model)
    with pytest.raises(
        EditError, match=rf"^tried: edits\[1\]: block 1: expected a rank from 1 to {WIDTH // 2}, got {WIDTH}$"
    ):
        apply(changed(edit, 1, block_ranks=(4, WIDTH)), model)
    assert differing(model, former) == set()


def test_target_matrices_refuse_a_matrix_that_the_family_lacks() -> None:
    with pytest.raises(FitError, match="matrix: the gpt2 family has no matrix 'W_q'"):
        target_matrices(tiny_model("gpt2"), ("U_in", "W_q"))


def test_a_target_is_a_view_without_gradient_history() -> None:
    model = tiny_model("gpt2")
    target = target_matrix(model, "U_in", 0)
    assert target.parameter.requires_grad
    assert not target.weight.requires_grad
    assert target.weight.data_ptr() == target.parameter.data_ptr()
    assert torch.equal(target.oriented(target.parameter), target.parameter.T)
    assert tuple(target.weight.shape) == (INNER, WIDTH)


def test_a_wider_base_with_other_values_is_not_verified() -> None:
    """It rounds to the very tensor that was hashed, and is another model all the same."""
    half = tiny_model("llama").to(torch.float16)
    edit = edit_of(half, matrix_edit(half, "U_in", 1))
    wide = half.float()
    with applied(edit, wide) as in_force:
        assert in_force.verified
    target_matrix(wide, "U_in", 1).parameter.data.mul_(1 + 1e-5)
    with pytest.raises(BaseMismatchError, match="which does not hold all of its values"):
        apply(edit, wide)


def test_factors_without_a_folder_to_find_them_in_leave_all_untouched() -> None:
    model = tiny_model("llama")
    edit = edit_of(model, matrix_edit(model, "U_out", 0), matrix_edit(model, "U_in", 1))
    edit = changed(edit, 1, factors=Factors("a.safetensors", "0" * 64, 8))
    assert refused(edit, model, FactorsError).startswith("edits[1].factors: the edit was read from no file")
