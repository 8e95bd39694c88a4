"""Stage 2: the score of every matrix, and the matrices that are kept for each K (section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cti_edits.errors import EditError
from cti_edits.linalg.spectrum import matrix_score
from cti_edits.models.apply import TargetMatrix
from cti_edits.replay.sigma_gradients import Gradients
from cti_edits.search.candidates import MatrixId


def matrix_scores(
    gradients: Gradients, clusters: Sequence[int], targets: Mapping[MatrixId, TargetMatrix]
) -> dict[int, dict[MatrixId, float]]:
    """For each K, the score of every matrix (DESIGN: score).

    Args:
        gradients: see `gradients.sigma_gradients`.
        clusters: the K.
        targets: the matrices.

    Raises:
        EditError: a score is not finite; the message names the matrix.
    """
    scores: dict[int, dict[MatrixId, float]] = {number: {} for number in clusters}
    for (target_id, target), by_clusters in zip(targets.items(), gradients, strict=True):
        for number, blocks in zip(clusters, by_clusters, strict=True):
            score = matrix_score(blocks)
            if not math.isfinite(score):
                raise EditError(f"{target.module}: its score at K = {number} is {score}")
            scores[number][target_id] = score
    return scores


def keep_best(scores: Mapping[MatrixId, float], count: int) -> list[MatrixId]:
    """The ``count`` matrices with the most negative scores; ties go to the lower layer, then by role."""
    return sorted(scores, key=lambda target: (scores[target], target))[:count]
