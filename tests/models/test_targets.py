"""Matrices of a loaded model: whole, rows of a weight, and of experts. tests/test_architectures.py has every type."""

from __future__ import annotations

import pytest
import torch

from cti_edits.errors import FitError
from cti_edits.models.apply import apply
from cti_edits.models.targets import shared_blocks, target_matrices, target_matrix
from studies.tiny import TINY
from studies.tiny.fused import FUSED, VARIANTS
from tests.support.edits import edit_of


def test_the_parts_of_a_fused_weight_are_all_of_it() -> None:
    model = TINY["gpt_neox"].build()
    parts = [target_matrix(model, role, 1) for role in ("W_q", "W_k", "W_v")]
    stored = model.gpt_neox.layers[1].attention.query_key_value.weight
    heads = stored.detach().view(4, 3, 8, 32)
    for number, part in enumerate(parts):
        assert torch.equal(part.weight, heads[:, number].flatten(0, 1))
        assert part.is_part
    before = stored.detach().clone()
    parts[1].put(torch.zeros_like(parts[1].weight))
    assert not stored.detach().view(4, 3, 8, 32)[:, 1].any()
    parts[1].put(before.view(4, 3, 8, 32)[:, 1].flatten(0, 1))
    assert torch.equal(stored, before)


def test_every_expert_has_a_matrix_of_its_own() -> None:
    model = TINY["mixtral"].build()
    found = target_matrices(model, ("U_in", "U_out"))
    assert len(found) == 3 * 2 * 4
    assert [str(one.id) for one in found[:3]] == [f"U_in of layer 0, expert {number}" for number in range(3)]
    whole = model.model.layers[0].mlp.experts.gate_up_proj
    assert torch.equal(found[2].weight, whole.detach()[2, :48])
    with pytest.raises(FitError, match=r"^expert: expected 0 to 3, one of the experts of U_in of layer 0, got 4$"):
        target_matrix(model, "U_in", 0, expert=4)
    with pytest.raises(FitError, match=r"^expert: .*got None$"):
        target_matrix(model, "U_in", 0)
    with pytest.raises(FitError, match=r"^expert: W_q of layer 0 is no expert's, got 1$"):
        target_matrix(model, "W_q", 0, expert=1)


def test_layers_without_the_matrix_are_left_out_by_name() -> None:
    model = TINY["lfm2"].build()
    assert [one.layer for one in target_matrices(model, ("W_q",))] == [1]
    assert [one.layer for one in target_matrices(model, ("U_in",))] == [0, 1, 2]
    with pytest.raises(
        FitError, match=r"^matrix: layer 0 has no W_q \(it has U_in, U_up, U_out; layers with one: 1\)$"
    ):
        target_matrix(model, "W_q", 0)
    without = TINY["t5"].build()
    with pytest.raises(FitError, match=r"^matrix: no layer of the model has U_up \(it has "):
        target_matrices(without, ("U_up",))


def test_one_block_that_stands_for_all_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    model = TINY["albert"].build()
    assert shared_blocks(model) == "1 block stands for all 3 layers: an edit of it edits all"
    for name in ("bert", "t5", "lfm2", "gemma3", "jamba"):
        assert shared_blocks(TINY[name].build()) is None
    apply(edit_of(model, ("U_in", 0, 2, 0.5)), model)
    assert "1 block stands for all 3 layers" in caplog.text


VARIED = {**{name: (name, {}) for name in (*FUSED, "dbrx")}, **VARIANTS}


@pytest.mark.parametrize("name", VARIED)
def test_queries_keys_and_values_are_what_they_are_named_for(name: str) -> None:
    """Without values nothing is mixed; without queries or without keys every value is mixed alike."""
    model_type, settings = VARIED[name]
    model = TINY[model_type].build(**settings)
    seen: list[torch.Tensor] = []
    output = model.get_submodule(target_matrix(model, "W_o", 1).module)
    output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))

    def mixed(role: str) -> torch.Tensor:
        target = target_matrix(model, role, 1)
        former = target.weight.clone()
        target.put(torch.zeros_like(former))
        with torch.no_grad():
            model(input_ids=torch.arange(5, 17)[None])
        target.put(former)
        return seen.pop()

    assert not mixed("W_v").any()
    torch.testing.assert_close(mixed("W_q"), mixed("W_k"))
    assert mixed("W_q").any()
    assert not torch.allclose(mixed("W_q"), mixed("W_o"), atol=1e-3)


@pytest.mark.parametrize(
    "model_type", ["phi3", "glm", "mixtral", "dbrx", "jamba", "llama4_text", "granitemoe", "deepseek_v2"]
)
def test_gate_and_up_are_what_they_are_named_for(model_type: str) -> None:
    """What an MLP gives is linear in U_up, as it is in U_out, and for the activation not in U_in."""
    model = TINY[model_type].build()

    def doubled(role: str) -> torch.Tensor:
        targets = target_matrices(model, (role,))
        for target in targets:
            target.put(2 * target.weight)
        with torch.no_grad():
            logits: torch.Tensor = model(input_ids=torch.arange(5, 17)[None]).logits
        for target in targets:
            target.put(target.weight / 2)
        return logits

    torch.testing.assert_close(doubled("U_up"), doubled("U_out"), rtol=1e-3, atol=1e-3)
    assert (doubled("U_in") - doubled("U_up")).abs().max() > 0.05


def test_gates_of_gpt_oss_lie_between_the_others() -> None:
    model = TINY["gpt_oss"].build()
    stored = model.model.layers[2].mlp.experts.gate_up_proj.detach()
    assert torch.equal(target_matrix(model, "U_in", 2, expert=3).weight, stored[3, :, ::2].T)
    assert torch.equal(target_matrix(model, "U_up", 2, expert=3).weight, stored[3, :, 1::2].T)


def test_a_matrix_that_two_layers_share_is_there_once() -> None:
    model = TINY["llama"].build()
    model.model.layers[2].mlp.up_proj = model.model.layers[0].mlp.up_proj
    assert [one.layer for one in target_matrices(model, ("U_up",))] == [0, 1]
    assert [one.layer for one in target_matrices(model, ("U_in",))] == [0, 1, 2]
