"""The candidates of the method ``block-svd``: rank cuts of one matrix each, the paper's search (section 3).

From σ-gradients to scores, from scores to the matrices that are kept, and every ρ of each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks, kept_parameters, row_block_sizes
from cti_edits.linalg.block_spectra import tied_blocks
from cti_edits.linalg.energy import retained_energy
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import identity_of
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.search.candidates import Candidate, Group, MatrixId, RankCut, candidates
from cti_edits.search.edited_weights import EditedWeights, shape_of
from cti_edits.search.explanation import NOT_EXPLAINED, Explanation, MatrixGradients, MatrixScore
from cti_edits.search.gradients import sigma_gradients
from cti_edits.search.scorers import BlockDirections, find_scorer
from cti_edits.search.scores import matrix_scores
from cti_edits.search.selectors import kept_matrices
from cti_edits.search.trials import SearchContext, Trial


def propose(context: SearchContext) -> RankCutTrials:
    """The rank cuts that a search tries.

    Raises:
        EditError: a weight, a loss, a gradient or a score is not finite, K is out of range, or a plugin's part fails.
    """
    settings, targets = context.settings, context.targets
    for target in targets.values():
        for clusters in settings.clusters:
            row_block_sizes(target.weight.shape[0], clusters)
    kept: Mapping[int, Sequence[MatrixId]]
    scored: ScoredMatrices | None = None
    if settings.top_q is None:
        kept = {clusters: list(targets) for clusters in settings.clusters}
    else:
        directions = sigma_gradients(
            context.session,
            context.scored,
            settings.clusters,
            targets,
            context.cache,
            context.progress,
            context.steps,
        )
        scores = matrix_scores(directions, settings.clusters, targets, settings.scorer, settings.seed)
        kept = kept_matrices(scores, settings.top_q, settings.selector)
        by_matrix = dict(zip(targets, directions, strict=True))
        scored = ScoredMatrices(find_scorer(settings.scorer).summary, scores, kept, by_matrix, settings.clusters)
    weights = EditedWeights(targets, context.cache, settings.partition, settings.seed)
    return RankCutTrials(weights, candidates(kept, settings.rates), scored)


@dataclass(frozen=True)
class ScoredMatrices:
    """The matrices that rank cuts were chosen among.

    Attributes:
        scored_by: what a score is, in words.
        scores: for each K, of every matrix.
        kept: for each K, those that are tried.
        directions: of each matrix, for each K, σ and g that were looked at.
        clusters: the K, in that order.
    """

    scored_by: str
    scores: Mapping[int, Mapping[MatrixId, float]]
    kept: Mapping[int, Sequence[MatrixId]]
    directions: Mapping[MatrixId, Sequence[tuple[BlockDirections, ...]]]
    clusters: Sequence[int]

    def explanation(self, best: RankCut | None) -> Explanation:
        """See `explanation.Explained`."""
        scores = tuple(
            MatrixScore(target, clusters, score, target in self.kept[clusters])
            for clusters, of_matrix in self.scores.items()
            for target, score in of_matrix.items()
        )
        first = min((one for one in scores if one.kept), key=lambda one: one.score, default=None)
        shown = best or first
        gradients = None if shown is None else self._gradients(shown.target, shown.clusters)
        return Explanation(self.scored_by, "tried", scores, gradients)

    def _gradients(self, target: MatrixId, clusters: int) -> MatrixGradients:
        blocks = self.directions[target][self.clusters.index(clusters)]
        sigma = tuple(value for block in blocks for value in block.S.tolist())
        gradient = tuple(value for block in blocks for value in block.g.tolist())
        return MatrixGradients(target, clusters, sigma, gradient, (False,) * len(sigma))


class RankCutTrials:
    """Rank cuts; see `trials.Trials`."""

    def __init__(self, weights: EditedWeights, groups: Sequence[Group], scored: ScoredMatrices | None = None) -> None:
        """Take what makes the weights, the candidates, and the scores that they were chosen by, if they were."""
        self._weights, self._groups, self._scored = weights, groups, scored
        self._partitions: dict[RankCut, str] = {}
        self.candidates: Sequence[Candidate] = [one for group in groups for one in group]

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        """See `trials.Trials.trials`: in the order of the blocks, so that what comes before them is run once."""
        for group in sorted(self._groups, key=lambda group: (group.target.stack == "decoder", group.target.layer)):
            those = [candidate for candidate in group if candidate in wanted]
            if those:
                yield from self._of(Group(group.target, group.clusters, those))

    def as_applied(self, candidate: Candidate) -> Trial | None:
        """See `trials.Trials.as_applied`."""
        one = _rank_cut(candidate)
        (tried,) = self._of(Group(one.target, one.clusters, [one]))
        if tried.partition != ROW_BLOCKS:
            return None
        ((target, weight),) = tried.weights
        edited = truncate(target.weight, self._weights.ranks(one, ROW_BLOCKS))
        return None if torch.equal(edited, weight) else self._trial(one, target, edited, ROW_BLOCKS)

    def matrix_edits(self, candidate: Candidate, checkpoint: AnyCheckpoint | None) -> tuple[BlockSvdEdit, ...]:
        """See `trials.Trials.matrix_edits`."""
        one = _rank_cut(candidate)
        return (matrix_edit(self._weights.targets[one.target], one, self._partitions[one], checkpoint),)

    def explanation(self, best: Candidate | None) -> Explanation:
        """See `explanation.Explained`."""
        if self._scored is None:
            return NOT_EXPLAINED
        return self._scored.explanation(None if best is None else _rank_cut(best))

    def _of(self, group: Group) -> Iterator[Trial]:
        target = self._weights.targets[group.target]
        for candidate, partition, edited in self._weights.of(group):
            self._partitions[candidate] = partition
            yield self._trial(candidate, target, edited, partition)

    def _trial(self, one: RankCut, target: TargetMatrix, edited: torch.Tensor, partition: str) -> Trial:
        shape = shape_of(target)
        added = kept_parameters(shape, self._weights.ranks(one, partition), partition) - shape[0] * shape[1]
        return Trial(one, [(target, edited)], added, partition)


def _rank_cut(candidate: Candidate) -> RankCut:
    assert isinstance(candidate, RankCut)
    return candidate


def matrix_edit(
    target: TargetMatrix, candidate: RankCut, partition: str, checkpoint: AnyCheckpoint | None
) -> BlockSvdEdit:
    """The manifest's entry for a candidate.

    Args:
        target: the matrix, unedited.
        candidate: the edit of it.
        partition: how its rows are assigned to blocks, as a manifest writes it.
        checkpoint: that the model was loaded from, if it was.
    """
    shape = shape_of(target)
    ranks = block_ranks(shape, candidate.clusters, candidate.rho, partition)
    identity = identity_of(target, checkpoint)
    edited = truncate(target.weight, ranks, partition=partition)
    return BlockSvdEdit(
        **target.place(),
        shape=shape,
        rho=candidate.rho,
        clusters=candidate.clusters,
        block_ranks=ranks,
        partition=partition,
        sha256=identity.sha256,
        frobenius_norm=identity.frobenius_norm,
        dtype=identity.dtype,
        tensor=identity.tensor,
        gguf_sha256=identity.gguf_sha256,
        tied_blocks=tied_blocks(target.weight, ranks, partition) or None,
        retained_energy=retained_energy(target.weight, edited, candidate.clusters, partition),
    )
