"""Predicts how much each candidate changes the loss, to first order, and keeps the most promising (``--screen``).

An edit that changes a linear layer's output from y_t to ŷ_t changes the loss by Σ_t δ_t·(ŷ_t - y_t) to first order, δ_t
being the gradient at that output. With Ŵ - W = -Σ_{i>j} σ_i u_i v_iᵀ in each block that is -Σ_{i>j} σ_i g_i, g the
σ-gradients: one backward pass serves every matrix, K and ρ, and no forward pass is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.linalg.block_spectra import sigma_triplets
from cti_edits.linalg.spectrum import sigma_gradients
from cti_edits.models.identity import tensor_sha256
from cti_edits.progress import Progress
from cti_edits.replay.gradients import loss_gradients
from cti_edits.search.evaluations import EditedWeights, Group
from cti_edits.search.space import Candidate


def predicted_changes(
    lm: Any,
    calibration: CalibrationSet,
    weights: EditedWeights,
    groups: Sequence[Group],
    batch_size: int,
    progress: Progress,
) -> dict[Candidate, float]:
    """The first-order change of the mean NLL of the gold answer, in nats, for every candidate.

    Args:
        lm: a model of `lm` or `masked_lm`.
        calibration: the examples.
        weights: where their decompositions come from.
        groups: the candidates, cut into row blocks.
        batch_size: examples in one pass.
        progress: told about the pass and the predictions.

    Raises:
        EditError: a loss or gradient is not finite.
    """
    kept = sorted({target_id for target_id, _, _ in groups})
    with progress.phase("screening", len(calibration.gold) + len(groups)) as advance:
        found = loss_gradients(lm, [weights.targets[one] for one in kept], calibration.gold, batch_size, advance)
        gradients = dict(zip(kept, found, strict=True))
        changes: dict[Candidate, float] = {}
        for target_id, clusters, members in groups:
            target = weights.targets[target_id]
            # On the CPU, where the gradients are.
            weight = target.weight.cpu()
            triplets = sigma_triplets(weight, weights.cache.spectra(weight, tensor_sha256(target.parameter), clusters))
            try:
                slopes = sigma_gradients(triplets, gradients[target_id].double())
            except EditError as error:
                raise EditError(f"{target.module}: {error}; a wider dtype (--dtype float32) may help") from None
            parts = zip(triplets, slopes, strict=True)
            # Σ_{i>j} σ_i g_i for every j at once, the last of them 0.
            tails = [torch.cat([(b.S * g).flip(0).cumsum(0).flip(0), g.new_zeros(1)]) for b, g in parts]
            for candidate in members:
                ranks = weights.ranks(candidate, ROW_BLOCKS)
                changes[candidate] = -sum(float(tail[rank]) for tail, rank in zip(tails, ranks, strict=True))
            advance(1)
    return changes


def screened(groups: Sequence[Group], changes: dict[Candidate, float], count: int) -> list[Group]:
    """The groups with the ``count`` candidates alone whose loss is predicted to be least; ties go to the first."""
    kept = set(sorted(changes, key=lambda candidate: changes[candidate])[:count])
    left = [(target, clusters, [c for c in members if c in kept]) for target, clusters, members in groups]
    return [group for group in left if group[2]]
