from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import target_matrices, target_matrix
from cti_edits.progress import Silent
from cti_edits.replay.gradients import loss_gradients
from cti_edits.search.evaluations import EditedWeights, Group, in_force
from cti_edits.search.runner import run_search
from cti_edits.search.screening import predicted_changes, screened
from cti_edits.search.space import Candidate, MatrixId, SearchSettings, candidates
from tests.support.small_searches import choices, failing, lm_of
from tests.support.tiny_models import MASKED, tiny_model

RATES = (1.0, 0.5, 0.1)
CLUSTERS = (1, 3)


def mean_loss(lm: Any, gold: tuple[GoldRequest, ...]) -> float:
    with torch.no_grad():
        return float(lm.answer_losses(gold).double().mean())


def all_of(lm: Any, rates: tuple[float, ...] = RATES) -> tuple[EditedWeights, list[Group]]:
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, ("U_in", "U_out"))}
    return EditedWeights(targets, SpectrumCache()), candidates({k: list(targets) for k in CLUSTERS}, rates)


@pytest.mark.parametrize("model_type", ["gptj", "gpt2", "roberta"])
def test_the_prediction_is_the_product_of_gradient_and_edit(model_type: str, tmp_path: Path) -> None:
    """⟨G, Ŵ - W⟩ in float64, by numpy's decompositions."""
    lm = lm_of(model_type)
    calibration = choices(tmp_path, masked=model_type in MASKED)
    weights, groups = all_of(lm)
    changes = predicted_changes(lm, calibration, weights, groups, 3, Silent())
    gradients = dict(
        zip(weights.targets, loss_gradients(lm, list(weights.targets.values()), calibration.gold, 4), strict=True)
    )
    assert len(changes) == len(weights.targets) * len(CLUSTERS) * len(RATES)
    for candidate, change in changes.items():
        W = weights.targets[candidate.target].weight.double().numpy()
        G = gradients[candidate.target].double().numpy()
        expected = 0.0
        ranks = weights.ranks(candidate, "row-blocks")
        cut = zip(np.array_split(W, candidate.clusters), np.array_split(G, candidate.clusters), ranks, strict=True)
        for block, slope, rank in cut:
            U, S, Vh = np.linalg.svd(block, full_matrices=False)
            expected += float(((U[:, :rank] * S[:rank]) @ Vh[:rank] - block).ravel() @ slope.ravel())
        assert change == pytest.approx(expected, rel=1e-3, abs=1e-5)
    whole_ranks = [c for c in changes if c.rho == 1.0 and c.clusters == 1]
    assert any(abs(changes[c]) > 1e-3 for c in changes if c not in whole_ranks)


def test_a_small_edit_changes_the_loss_as_predicted(tmp_path: Path) -> None:
    """Of a weight whose last singular value is small, so that the first order is all there is."""
    model = tiny_model("gpt2").double()
    lm = lm_of("gpt2", model, dtype="float64")
    calibration = choices(tmp_path)
    target = target_matrix(model, "U_in", 1)
    U, S, Vh = torch.linalg.svd(target.weight, full_matrices=False)
    for size in (1e-3, 1e-4):
        with torch.no_grad():
            target.weight.copy_((U * torch.cat([S[:-1], S.new_tensor([size])])) @ Vh)
        weights = EditedWeights({MatrixId(1, "U_in"): target}, SpectrumCache())
        rank = len(S) - 1
        rho = next(r / 1000 for r in range(1000) if weights.ranks(candidate_at(r / 1000), "row-blocks") == (rank,))
        candidate = candidate_at(rho)
        groups = [(candidate.target, 1, [candidate])]
        (change,) = predicted_changes(lm, calibration, weights, groups, 4, Silent()).values()
        before = mean_loss(lm, calibration.gold)
        with in_force(target, truncate(target.weight, (rank,))):
            after = mean_loss(lm, calibration.gold)
        assert after - before == pytest.approx(change, rel=30 * size)


def candidate_at(rho: float) -> Candidate:
    return Candidate(MatrixId(1, "U_in"), 1, max(rho, 1e-3))


def test_the_best_are_kept_in_their_groups_and_ties_go_to_the_first() -> None:
    groups = candidates({1: [MatrixId(0, "U_in"), MatrixId(1, "U_in")], 2: [MatrixId(0, "U_in")]}, (0.5, 0.1))
    flat = [candidate for _, _, members in groups for candidate in members]
    changes = dict(zip(flat, [0.2, -0.1, 0.3, 0.2, 0.5, -0.4], strict=True))
    assert screened(groups, changes, 2) == [
        (MatrixId(0, "U_in"), 1, [flat[1]]),
        (MatrixId(0, "U_in"), 2, [flat[5]]),
    ]
    assert screened(groups, changes, 3)[0][2] == [flat[0], flat[1]]
    assert len(screened(groups, changes, 3)) == 2
    assert screened(groups, changes, 99) == groups


@pytest.mark.parametrize("count", [1, 5])
def test_a_search_evaluates_the_best_alone(count: int, tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = choices(tmp_path)
    weights, groups = all_of(lm)
    changes = predicted_changes(lm, calibration, weights, groups, 4, Silent())
    best = set(sorted(changes, key=lambda one: changes[one])[:count])
    settings = SearchSettings(samples=7, top_q=None, clusters=CLUSTERS, rates=RATES, screen=count)
    result = run_search(lm, calibration, settings, "tiny", "tiny", 4, exact_stop=False)
    assert {outcome.candidate for outcome in result.outcomes} == best
    assert result.edit.search is not None
    assert result.edit.search["screen"] == count


def test_a_gradient_that_is_not_finite_names_the_matrix(tmp_path: Path) -> None:
    lm = lm_of("gptj")
    weights, groups = all_of(lm)

    def spoilt(_: Any, __: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]

    lm.model.transformer.h[1].mlp.fc_out.register_forward_hook(spoilt)
    with pytest.raises(
        EditError, match=r"^transformer\.h\.0\.mlp\.fc_in: the gradient holds NaN or infinite values; a"
    ):
        predicted_changes(lm, choices(tmp_path), weights, groups, 4, Silent())


@pytest.mark.parametrize("fails_above", [2, 1, 0])
def test_exhausted_memory_halves_the_batch(fails_above: int, tmp_path: Path) -> None:
    lm = lm_of("gptj")
    calibration = choices(tmp_path)
    weights, groups = all_of(lm)
    expected = predicted_changes(lm, calibration, weights, groups, 4, Silent())
    steps: list[int] = []
    lm.model.forward = first_named(failing(lm.model.forward, lambda tokens: tokens.shape[0] > fails_above))
    targets = list(weights.targets.values())
    if not fails_above:
        with pytest.raises(
            EditError, match=r"^the memory of cpu does not hold the gradients of row \d+ beside the mod"
        ):
            predicted_changes(lm, calibration, weights, groups, 4, Silent())
        return
    loss_gradients(lm, targets, calibration.gold, 4, steps.append)
    assert sum(steps) == len(calibration.gold)
    assert max(steps) == fails_above
    changes = predicted_changes(lm, calibration, weights, groups, 4, Silent())
    assert changes == pytest.approx(expected, rel=1e-3, abs=1e-5)


def first_named(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(tokens: Any = None, **named: Any) -> Any:
        return forward(**({} if tokens is None else {"input_ids": tokens}), **named)

    return run
