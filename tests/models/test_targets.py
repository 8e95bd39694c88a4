"""Matrices of a loaded model: whole, rows of a weight, and of experts. tests/test_architectures.py has every type."""

from __future__ import annotations

import pytest
import torch

from cti_edits.errors import FitError
from cti_edits.models.apply import apply
from cti_edits.models.targets import shared_blocks, target_matrices, target_matrix
from studies.tiny import TINY
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
