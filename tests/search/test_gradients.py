"""Tails of many matrices, side by side or one after the other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import FitError
from cti_edits.harness.lm import EditedLM
from cti_edits.linalg.lowrank import BIG
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix, target_matrices
from cti_edits.progress import Silent
from cti_edits.search.candidates import MatrixId
from cti_edits.search.gradients import last_triplets, with_values
from cti_edits.search.presets import find_preset
from cti_edits.search.runner import run_search
from studies.tiny import TINY
from tests.support.small_searches import Notes, choices
from tests.support.tiny_models import byte_tokenizer, tiny_model


def targets() -> dict[MatrixId, TargetMatrix]:
    return {MatrixId(t.layer, t.matrix): t for t in target_matrices(tiny_model("gptj"), ("U_in", "U_out"))}


def test_both_ways_give_the_same_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = targets()
    together = last_triplets((1, 2, 4), weights, SpectrumCache(tmp_path / "together"), Silent())
    assert len(list((tmp_path / "together").iterdir())) == 3 * len(weights)
    monkeypatch.setattr("cti_edits.search.gradients.BIG", 0)
    in_turn = last_triplets((1, 2, 4), weights, SpectrumCache(tmp_path / "in_turn"), Silent())
    for ways, others, target in zip(together.vectors, in_turn.vectors, weights.values(), strict=True):
        assert [len(blocks) for blocks in ways] == [1, 2, 4]
        assert sum(len(block.U) for block in ways[1]) == target.weight.shape[0]
        for blocks, other_blocks in zip(ways, others, strict=True):
            for block, other in zip(blocks, other_blocks, strict=True):
                products = (block.U @ block.V.mT, other.U @ other.V.mT)
                torch.testing.assert_close(*products, rtol=1e-4, atol=1e-5)


def test_singular_values_stand_beside_the_vectors_and_gradients_that_they_are_of(tmp_path: Path) -> None:
    weights = targets()
    triplets = last_triplets((1, 3), weights, SpectrumCache(tmp_path), Silent())
    for target, ways, values in zip(weights.values(), triplets.vectors, triplets.values, strict=True):
        for blocks, found in zip(ways, values, strict=True):
            rows = torch.tensor_split(target.weight.double(), len(blocks))
            for part, block, S in zip(rows, blocks, found, strict=True):
                torch.testing.assert_close(part @ block.V.double(), block.U.double() * S, rtol=1e-4, atol=1e-5)
                assert (S.dtype, S.device.type) == (torch.float64, "cpu")
    gradients = [[tuple(S + 1 for S in blocks) for blocks in ways] for ways in triplets.values]
    beside = with_values(gradients, triplets.values)
    assert all(torch.equal(block.g, block.S + 1) for ways in beside for blocks in ways for block in blocks)
    assert [[len(blocks) for blocks in ways] for ways in beside] == [[1, 3]] * len(weights)


@pytest.mark.parametrize("held", [0, BIG])
def test_what_is_not_finite_is_named(held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cti_edits.search.gradients.BIG", held)
    weights = targets()
    bad = list(weights.values())[2]
    with torch.no_grad():
        bad.parameter[0, 0] = float("nan")
    with pytest.raises(FitError, match=bad.module):
        last_triplets((1, 2), weights, SpectrumCache(tmp_path), Silent())


@pytest.mark.parametrize("preset", ["cl-100g-100e", "sigma-step"])
def test_an_expert_that_no_token_goes_to_has_score_0_and_is_named(preset: str, tmp_path: Path) -> None:
    """The router of layer 1 is made to send every token to the first two of four experts."""
    model = TINY["mixtral"].build()
    block = model.model.layers[1].mlp
    with torch.no_grad():
        block.gate.weight.zero_()
        block.gate.weight[0], block.gate.weight[1] = 5.0, 4.0
    block.gate.register_forward_pre_hook(lambda _, inputs: (inputs[0].abs(), *inputs[1:]))
    notes = Notes()
    settings = dataclasses.replace(
        find_preset(preset).settings("causal"), clusters=(1,), samples=6, directions=(8,), drops=(1.0,), rates=(0.5,)
    )
    lm: Any = EditedLM(pretrained=model, tokenizer=byte_tokenizer(), device="cpu", batch_size=4)
    found = run_search(lm, choices(tmp_path), settings, "moe", "tests/moe", notes)
    (said,) = [line for line in notes.lines if line.startswith("no token of these rows")]
    assert "4 matrices, whose score is 0: U_in of layer 1, expert 2; U_in of layer 1, expert 3; U_out" in said
    unseen = {(1, 2), (1, 3)}
    assert not unseen & {(one.layer, one.expert) for one in found.edit.edits}
