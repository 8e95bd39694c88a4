"""Ranks the matrices of a model by their scores on the calibration examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cti_edits.errors import EditError, FitError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.linalg.block_tails import HELD, BlockTail
from cti_edits.linalg.matrix_threads import matrix_threads
from cti_edits.linalg.spectrum import matrix_score
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import tensor_sha256
from cti_edits.progress import Progress
from cti_edits.replay.sigma_gradients import SingularVectors, loss_sigma_gradients
from cti_edits.search.space import MatrixId, SearchSettings, keep_best


def rank_matrices(
    lm: Any,
    calibration: CalibrationSet,
    settings: SearchSettings,
    top_q: int,
    targets: Mapping[MatrixId, TargetMatrix],
    cache: SpectrumCache,
    progress: Progress,
) -> dict[int, list[MatrixId]]:
    """For each K, the best ``top_q`` matrices by score.

    Raises:
        EditError: a weight, a loss, a gradient or a score is not finite; the message names it.
    """
    directions = last_singular_vectors(settings.clusters, targets, cache, progress)
    scores = matrix_scores(lm, calibration, settings.clusters, targets, directions, progress)
    return {clusters: keep_best(found, top_q) for clusters, found in scores.items()}


def last_singular_vectors(
    clusters: Sequence[int], targets: Mapping[MatrixId, TargetMatrix], cache: SpectrumCache, progress: Progress
) -> list[list[list[SingularVectors]]]:
    """The last singular vectors of the row blocks of every matrix, for each K; what `matrix_scores` wants.

    Raises:
        FitError: a weight is not finite; the message names it.
    """

    def directions_of(target: TargetMatrix) -> list[list[SingularVectors]]:
        try:
            tails = cache.tails(target.weight, tensor_sha256(target.parameter), clusters)
        except EditError as error:
            raise FitError(f"{target.module}: {error}") from None
        return [_directions(tails[number], target) for number in clusters]

    directions = []
    small = all(t.weight.device.type == "cpu" and t.weight.numel() <= HELD for t in targets.values())
    with progress.phase("decompositions", len(targets)) as advance, matrix_threads(None if small else 1) as run:
        # One big matrix keeps all threads busy, and two take the memory of two.
        for found in run(directions_of, targets.values()):
            directions.append(found)
            advance(1)
    return directions


def matrix_scores(
    lm: Any,
    calibration: CalibrationSet,
    clusters: Sequence[int],
    targets: Mapping[MatrixId, TargetMatrix],
    directions: Sequence[Sequence[Sequence[SingularVectors]]],
    progress: Progress,
) -> dict[int, dict[MatrixId, float]]:
    """For each K, the score of every matrix (DESIGN: score), from one gradient pass.

    Args:
        lm: a model of `lm` or `masked_lm`.
        calibration: the examples that the gradients are taken on.
        clusters: the K.
        targets: the matrices.
        directions: of each, for each K, the last singular vectors of its row blocks.
        progress: told about the pass.

    Raises:
        EditError: a loss, a gradient or a score is not finite; the message names the matrix or the example.
    """
    with progress.phase("gradients", len(calibration.gold)) as advance:
        gradients = loss_sigma_gradients(lm, list(targets.values()), directions, calibration.gold, advance)
    scores: dict[int, dict[MatrixId, float]] = {number: {} for number in clusters}
    for (target_id, target), ways in zip(targets.items(), gradients, strict=True):
        for number, blocks in zip(clusters, ways, strict=True):
            score = matrix_score(blocks)
            if not math.isfinite(score):
                raise EditError(f"{target.module}: its score at K = {number} is {score}")
            scores[number][target_id] = score
    return scores


def _directions(tails: Sequence[BlockTail], target: TargetMatrix) -> list[SingularVectors]:
    """In the precision that they are used in: those of every matrix and K together take gigabytes."""
    dtype = torch.float64 if target.parameter.dtype == torch.float64 else torch.float32
    return [SingularVectors(tail.U.to(dtype), tail.V.to(dtype)) for tail in tails]
