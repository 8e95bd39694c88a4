"""A layer with directions added gives what it gives with the edited weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cti_edits.models.apply import TargetMatrix, target_matrix
from cti_edits.replay.added_directions import AddedDirections, added_directions
from cti_edits.replay.sigma_gradients import SingularVectors
from studies.tiny import TINY
from tests.support.tiny_models import tiny_model

CHOSEN = ((0, 3, 7), (), (2, 1))
"""Of three row blocks: several, none, and some that do not ascend."""


def added_to(target: TargetMatrix, chosen: tuple[tuple[int, ...], ...]) -> tuple[AddedDirections, torch.Tensor]:
    """Directions with σ times 0.5, 1.5, 2.5, … and the weight that they make."""
    vectors, coefficients, edited = [], [], []
    for block, indices in zip(torch.tensor_split(target.weight, len(chosen)), chosen, strict=True):
        U, S, Vh = torch.linalg.svd(block, full_matrices=False)
        which = list(indices)
        factors = torch.arange(len(which), dtype=torch.float64) + 0.5
        vectors.append(SingularVectors(U[:, which], Vh[which].mT))
        coefficients.append((factors - 1) * S[which])
        edited.append(block + (U[:, which] * coefficients[-1].to(U.dtype)) @ Vh[which])
    return AddedDirections(target, vectors, coefficients), torch.cat(edited)


def outputs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(24).reshape(2, 12)).logits
    return logits


@pytest.mark.parametrize("chosen", [CHOSEN[:1], CHOSEN])
@pytest.mark.parametrize(("model_type", "matrix"), [("gptj", "U_in"), ("gpt2", "U_in"), ("gpt2", "U_out")])
def test_it_is_the_edited_weight(model_type: str, matrix: str, chosen: tuple[tuple[int, ...], ...]) -> None:
    """GPT-2's is a Conv1D."""
    model = tiny_model(model_type).double()
    targets = [target_matrix(model, matrix, layer) for layer in (0, 2)]
    made = [added_to(target, chosen) for target in targets]
    plain = outputs(model)
    with added_directions(model, [one for one, _ in made]):
        ours = outputs(model)
    assert torch.equal(outputs(model), plain)
    with torch.no_grad():
        for target, (_, edited) in zip(targets, made, strict=True):
            target.weight.copy_(edited)
    torch.testing.assert_close(ours, outputs(model), rtol=1e-10, atol=1e-10)
    assert (ours - plain).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("model_type", "matrix", "expert"),
    [
        ("phi3", "U_up", None),
        ("gpt_neox", "W_k", None),
        ("mixtral", "U_in", 2),
        ("gpt_oss", "U_up", 1),
        ("dbrx", "U_out", 3),
    ],
)
def test_parts_of_a_weight_and_experts(model_type: str, matrix: str, expert: int | None) -> None:
    model = TINY[model_type].build()  # the grouped products of experts take no float64
    # Of two parts of one parameter.
    of_other = ("U_in", 0 if expert == 1 else expert) if matrix in ("U_up", "U_in") else (matrix, expert and 0)
    targets = [target_matrix(model, matrix, 1, expert=expert)]
    if of_other != (matrix, expert):
        targets.append(target_matrix(model, of_other[0], 1, expert=of_other[1]))
    made = [added_to(target, CHOSEN) for target in targets]
    plain, before = outputs(model), model.state_dict()
    with added_directions(model, [one for one, _ in made]):
        ours = outputs(model)
        assert all(torch.equal(one, model.state_dict()[name]) for name, one in before.items())
    assert torch.equal(outputs(model), plain)
    for target, (_, edited) in zip(targets, made, strict=True):
        target.put(edited)
    torch.testing.assert_close(ours, outputs(model), rtol=1e-4, atol=1e-4)
    assert (ours - plain).abs().max() > 1e-2


def test_coefficients_may_change_while_it_is_in_force() -> None:
    model = tiny_model("llama").double()
    one, _ = added_to(target_matrix(model, "U_out", 1), CHOSEN)
    plain = outputs(model)
    with added_directions(model, [one]):
        assert not torch.equal(outputs(model), plain)
        for coefficients in one.coefficients:
            coefficients.zero_()
        assert torch.equal(outputs(model), plain)


def test_a_half_precision_layer_gives_its_own_dtype() -> None:
    model = tiny_model("llama").to(torch.bfloat16)
    target = target_matrix(model, "U_in", 0)
    blocks = [SingularVectors(torch.ones(48, 1), torch.ones(32, 1))]
    one = AddedDirections(target, blocks, [torch.tensor([2.0], dtype=torch.float64)])
    given = one.output(torch.ones(3, 32, dtype=torch.bfloat16))
    assert given.dtype == torch.bfloat16
    assert torch.equal(given, torch.full((3, 48), 64.0, dtype=torch.bfloat16))


def test_nothing_is_left_after_an_error() -> None:
    model = tiny_model("llama")
    one, _ = added_to(target_matrix(model, "U_in", 1), CHOSEN)
    plain = outputs(model)
    with pytest.raises(LookupError), added_directions(model, [one]):
        raise LookupError
    assert not model.get_submodule(one.target.module)._forward_hooks
    assert torch.equal(outputs(model), plain)
