"""Which directions are chosen, and one step on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.linalg.block_spectra import BlockSpectrum
from cti_edits.models.architectures import Kind
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import BlockGradients, DirectionGradients, direction_gradients
from cti_edits.search.direction_trials import DirectionTrials, Step
from cti_edits.search.directions import (
    Direction,
    by_matrix,
    chosen_directions,
    matrices_of,
    random_directions,
    step_scales,
)
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, search_context
from tests.support.tiny_models import tiny_model

A, B = MatrixId(0, "U_in"), MatrixId(2, "U_out")


def block(values: list[float], gradients: list[float]) -> BlockGradients:
    count = len(values)
    spectrum = BlockSpectrum((count, count + 1), torch.tensor(values).double(), torch.eye(count).double())
    return BlockGradients(spectrum, torch.tensor(gradients).double())


GRADIENTS = DirectionGradients(
    {
        B: [block([4.0, 2.0, 1.0], [0.5, -3.0, 0.25]), block([3.0, 2.0, 1.0], [2.0, 0.125, -0.5])],
        A: [block([8.0, 4.0], [-0.5, 1.0])],
    },
    loss=2.0,
)


def test_the_largest_gradients_of_all_matrices_are_chosen_and_ascend() -> None:
    assert chosen_directions(GRADIENTS, 1) == [Direction(B, 0, 1)]
    assert chosen_directions(GRADIENTS, 3) == [Direction(A, 0, 1), Direction(B, 0, 1), Direction(B, 1, 0)]


def test_of_equal_ones_the_first_counts_and_there_are_no_more_than_there_are() -> None:
    # Three have 0.5: layer 0, then block 0 and block 1 of layer 2.
    assert chosen_directions(GRADIENTS, 4) == sorted([*chosen_directions(GRADIENTS, 3), Direction(A, 0, 0)])
    assert chosen_directions(GRADIENTS, 5) == sorted([*chosen_directions(GRADIENTS, 4), Direction(B, 0, 0)])
    every = chosen_directions(GRADIENTS, 4096)
    assert len(every) == 8
    assert every == sorted(every)
    assert matrices_of(every) == {A, B}


def test_what_cannot_be_told_apart_what_is_near_zero_and_what_changes_nothing_is_left_out() -> None:
    gradients = DirectionGradients(
        {A: [block([4.0, 2.0, 2.0, 1.0, 1e-9], [0.1, 9.0, 8.0, 0.2, 7.0])], B: [block([2.0, 1.0], [0.0, 0.3])]}, 1.0
    )
    assert chosen_directions(gradients, 99) == [Direction(A, 0, 0), Direction(A, 0, 3), Direction(B, 0, 1)]
    drawn = random_directions(gradients, 99, seed=0)
    assert drawn == [Direction(A, 0, 0), Direction(A, 0, 3), Direction(B, 0, 0), Direction(B, 0, 1)]


def test_where_none_is_left_that_is_said() -> None:
    gradients = DirectionGradients({A: [block([2.0, 2.0], [1.0, 3.0])], B: [block([2.0, 1.0], [0.0, 0.0])]}, 1.0)
    with pytest.raises(EditError, match=r"^no singular value of these matrices can be changed by itself[^\n]*$"):
        chosen_directions(gradients, 4)


def test_random_directions_are_drawn_by_their_seed() -> None:
    draws = [random_directions(GRADIENTS, 3, seed) for seed in range(6)]
    assert draws[0] == random_directions(GRADIENTS, 3, 0)
    assert all(len(set(one)) == 3 and one == sorted(one) for one in draws)
    assert any(one != draws[0] for one in draws)


@pytest.mark.parametrize("drop", [0.1, 1.0, 3.0])
def test_a_step_takes_its_share_of_the_loss_to_first_order(drop: float) -> None:
    chosen = chosen_directions(GRADIENTS, 5)
    scales = step_scales(GRADIENTS, chosen, drop)
    assert list(scales) == chosen
    first_order, moves = 0.0, []
    for one, scale in scales.items():
        of_block = GRADIENTS.blocks[one.target][one.block]
        sigma, g = float(of_block.spectrum.S[one.index]), float(of_block.gradients[one.index])
        first_order += g * (scale - 1) * sigma
        moves.append((scale - 1) * sigma / g)
    assert first_order == pytest.approx(-drop * 2.0, rel=1e-5)
    # Along the gradient: σ' − σ = −η g with one η.  Factors have seven digits.
    assert moves == pytest.approx([moves[0]] * 5, abs=1e-5)
    assert moves[0] < 0


def test_by_matrix_has_every_block_and_sigma() -> None:
    scales = {Direction(B, 1, 2): 0.5, Direction(B, 1, 0): 2.0, Direction(A, 0, 1): 0.25}
    found = by_matrix(GRADIENTS, scales)
    assert list(found) == [A, B]
    assert found[B][0] is None
    last = found[B][1]
    assert last is not None
    assert (last.index, last.scale, last.sigma) == ([0, 2], [2.0, 0.5], [3.0, 1.0])


KINDS: dict[str, Kind] = {"llama": "causal", "roberta": "masked"}


@pytest.mark.parametrize("model_type", KINDS)
def test_a_small_step_lowers_the_loss_as_predicted(model_type: str, tmp_path: Path) -> None:
    lm = lm_of(model_type, tiny_model(model_type).double())
    rows = choices(tmp_path, masked=KINDS[model_type] == "masked")
    context = search_context(lm, rows, SearchSettings(), tmp_path)
    gradients = direction_gradients(context.session, rows, 2, context.targets, context.cache, context.progress)
    chosen = chosen_directions(gradients, 40)
    drop = 1e-4
    step = Step(40, drop)
    (trial,) = DirectionTrials(context.targets, gradients, {step: step_scales(gradients, chosen, drop)}).trials([step])
    with context.session, torch.no_grad():
        before = lm.answer_losses(rows.gold).mean().item()
        for target, edited in trial.weights:
            target.weight.copy_(edited)
        after = lm.answer_losses(rows.gold).mean().item()
    assert before == pytest.approx(gradients.loss, rel=1e-9)
    assert (before - after) / (drop * before) == pytest.approx(1.0, abs=0.02)
