"""Stage 2: the score of every matrix, and the matrices that are kept for each K (section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cti_edits.errors import EditError
from cti_edits.plugins import errors_name_provider
from cti_edits.search.candidates import MatrixId
from cti_edits.search.scorers import PAPER, BlockDirections, MatrixDirections, Scorer, find_scorer

if TYPE_CHECKING:
    from cti_edits.models.apply import TargetMatrix


def matrix_scores(
    directions: Sequence[Sequence[tuple[BlockDirections, ...]]],
    clusters: Sequence[int],
    targets: Mapping[MatrixId, TargetMatrix],
    scorer: str = PAPER,
    seed: int = 0,
) -> dict[int, dict[MatrixId, float]]:
    """For each K, the score of every matrix (DESIGN: score).

    Args:
        directions: for each matrix, for each K; see `gradients.sigma_gradients`.
        clusters: the K.
        targets: the matrices.
        scorer: what they are scored by.
        seed: of a scorer that draws.

    Raises:
        EditError: a score is not finite, and the message names the matrix; or a plugin's scorer fails.
    """
    score_of = find_scorer(scorer).score
    scores: dict[int, dict[MatrixId, float]] = {number: {} for number in clusters}
    for (target_id, target), by_clusters in zip(targets.items(), directions, strict=True):
        for number, blocks in zip(clusters, by_clusters, strict=True):
            shape = target.weight.shape[0], target.weight.shape[1]
            with errors_name_provider("scorers", Scorer, scorer):
                score = float(score_of(MatrixDirections(target_id, shape, blocks, seed)))
            if not math.isfinite(score):
                raise EditError(f"{target.module}: its score at K = {number} is {score}")
            scores[number][target_id] = score
    return scores


def keep_best(scores: Mapping[MatrixId, float], count: int) -> list[MatrixId]:
    """The ``count`` matrices with the lowest scores; ties go to the lower layer, then by role."""
    return sorted(scores, key=lambda target: (scores[target], target))[:count]
