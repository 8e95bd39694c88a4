from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.lm import EditedLM
from cti_edits.linalg.block_tails import TAIL
from cti_edits.linalg.lowrank import decompose
from cti_edits.linalg.spectrum import matrix_score, sigma_gradients
from cti_edits.models.apply import target_matrix
from cti_edits.replay.gradients import loss_gradients
from tests.support.tiny_models import byte_tokenizer, tiny_model

REQUESTS = (
    GoldRequest(0, "The sky over the port was", " grey"),
    GoldRequest(1, "Two and two", " are four"),
    GoldRequest(2, "", "yes"),
)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), clusters=st.integers(1, 5), seed=st.integers(0, 2**31 - 1))
def test_sigma_gradients_are_those_of_autograd(rows: int, columns: int, clusters: int, seed: int) -> None:
    clusters = min(clusters, rows)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    inputs = torch.randn(columns, 5, generator=generator, dtype=torch.float64)
    goal = torch.randn(rows, 5, generator=generator, dtype=torch.float64)

    def loss(matrix: torch.Tensor) -> torch.Tensor:
        return ((torch.tanh(matrix @ inputs) - goal) ** 2).sum()

    blocks = decompose(weight, clusters)
    free = weight.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(free), free)
    sigmas = [block.S.clone().requires_grad_() for block in blocks]
    rebuilt = torch.cat([b.U @ torch.diag(s) @ b.Vh for b, s in zip(blocks, sigmas, strict=True)])
    expected = torch.autograd.grad(loss(rebuilt), sigmas)
    found = sigma_gradients(blocks, gradient)
    assert len(found) == clusters
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# Families that compute in float64 throughout; Llama's norms, for one, go through float32.
@pytest.mark.parametrize("model_type", ["gpt2", "opt", "phi"])
@pytest.mark.parametrize(("matrix", "layer", "clusters"), [("W_o", 1, 1), ("U_out", 2, 3), ("U_in", 0, 2)])
def test_sigma_gradients_are_finite_differences_of_a_models_loss(
    model_type: str, matrix: str, layer: int, clusters: int
) -> None:
    lm: Any = EditedLM(pretrained=tiny_model(model_type).double(), tokenizer=byte_tokenizer(), device="cpu")
    target = target_matrix(lm.model, matrix, layer)
    (gradient,) = loss_gradients(lm, [target], REQUESTS, batch_size=2)
    blocks = decompose(target.weight, clusters)
    found = sigma_gradients(blocks, gradient)
    start = 0
    for block, slopes in zip(blocks, found, strict=True):
        rows = slice(start, start + block.U.shape[0])
        start = rows.stop
        for index in (0, len(block.S) // 2, len(block.S) - 1):
            direction = torch.outer(block.U[:, index], block.Vh[index])
            losses = []
            for step in (1e-5, -1e-5):
                former = target.weight.clone()
                with torch.no_grad():
                    target.weight[rows] += step * direction
                    losses.append(float(lm.answer_losses(REQUESTS).mean()))
                    target.weight.copy_(former)
            assert float(slopes[index]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_sigma_gradients_take_a_gradient_in_any_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    gradient = torch.randn(6, 4, generator=generator).bfloat16()
    found = sigma_gradients(decompose(weight, 2), gradient)
    assert {g.dtype for g in found} == {torch.float64}
    for ours, wide in zip(found, sigma_gradients(decompose(weight, 2), gradient.double()), strict=True):
        assert torch.equal(ours, wide)


@pytest.mark.parametrize("shape", [(4, 6), (6, 5), (5, 4), (24,)])
def test_a_gradient_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    blocks = decompose(torch.ones(6, 4), 2)
    with pytest.raises(EditError, match=r"expected a gradient of shape \(6, 4\), as the weight's, got \("):
        sigma_gradients(blocks, torch.zeros(shape))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(bad: float) -> None:
    gradient = torch.zeros(6, 4)
    gradient[5, 3] = bad
    with pytest.raises(EditError, match="the gradient holds NaN or infinite values"):
        sigma_gradients(decompose(torch.ones(6, 4), 2), gradient)


def test_the_score_sums_the_negative_gradients_of_the_last_twenty() -> None:
    assert TAIL == 20
    gradients = torch.zeros(25)
    gradients[:5] = -1000.0
    gradients[5] = -1.0
    gradients[10] = 7.0
    gradients[24] = -0.5
    assert matrix_score([gradients]) == -1.5


def test_the_score_of_a_block_with_fewer_takes_them_all() -> None:
    assert matrix_score([torch.tensor([-2.0, 3.0, -0.25])]) == -2.25


def test_the_score_is_the_mean_over_the_blocks() -> None:
    blocks = [torch.tensor([-1.0, -2.0]), torch.tensor([5.0, -3.0]), torch.tensor([4.0, 4.0])]
    assert matrix_score(blocks) == -2.0


def test_no_negative_gradient_scores_zero() -> None:
    assert matrix_score([torch.tensor([1.0, 2.0]), torch.zeros(2)]) == 0.0
