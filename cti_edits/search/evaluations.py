"""Evaluates the unedited model and every candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, block_ranks, kept_parameters
from cti_edits.errors import EditError
from cti_edits.harness.measured import Measured
from cti_edits.linalg.block_spectra import truncate_with
from cti_edits.linalg.finite import all_finite
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.linalg.subspaces import k_subspaces
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import tensor_sha256
from cti_edits.progress import Progress
from cti_edits.replay.answers import Hopeless
from cti_edits.replay.evaluator import Evaluator
from cti_edits.search.space import Candidate, MatrixId, Outcome, Partition, cannot_win, winner

Group = tuple[MatrixId, int, list[Candidate]]
"""Candidates that share a matrix and K."""


@dataclass(frozen=True)
class Evaluated:
    """What the evaluation of a search's candidates gave.

    Attributes:
        unedited: the unedited model.
        outcomes: the candidates that were evaluated to the end, in the order of their groups.
        stopped: those that were not, since they could not win any more.
        best: the winner, measured with the very weight that `apply.apply` computes for it.
    """

    unedited: Outcome
    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome


@dataclass(frozen=True)
class EditedWeights:
    """Makes the weights of candidates.

    Attributes:
        targets: the matrices.
        cache: where decompositions come from.
        partition: how rows are assigned to blocks.
        seed: of that.
    """

    targets: Mapping[MatrixId, TargetMatrix]
    cache: SpectrumCache
    partition: Partition = "row-blocks"
    seed: int = 0

    def of(self, group: Group) -> Iterator[tuple[Candidate, str, torch.Tensor]]:
        """Each candidate of a group with its partition and its weight, in the weight's own dtype.

        Cut into row blocks, all of them come from one decomposition; `apply.apply` makes one for the edit alone. The
        two differ by rounding, where they differ at all.

        Raises:
            EditError: the weight is not finite.
        """
        target_id, clusters, members = group
        target = self.targets[target_id]
        weight = target.weight
        if not all_finite(weight):
            raise EditError(f"{target.module}: the weight holds NaN or infinite values")
        if self.partition != ROW_BLOCKS:
            for candidate in members:
                partition = k_subspaces(weight, clusters, candidate.rho, self.seed)
                yield candidate, partition, truncate(weight, self.ranks(candidate, partition), partition=partition)
            return
        spectra = self.cache.spectra(weight, tensor_sha256(self.targets[target_id].parameter), clusters)
        for candidate in members:
            yield candidate, ROW_BLOCKS, truncate_with(weight, spectra, self.ranks(candidate, ROW_BLOCKS))

    def ranks(self, candidate: Candidate, partition: str) -> tuple[int, ...]:
        """The ranks that its blocks keep."""
        return block_ranks(shape_of(self.targets[candidate.target]), candidate.clusters, candidate.rho, partition)


def evaluate(
    evaluator: Evaluator, weights: EditedWeights, groups: Sequence[Group], exact_stop: bool, progress: Progress
) -> Evaluated:
    """Evaluate the unedited model and every candidate; the model has its former bits when this returns or raises.

    Args:
        evaluator: of the unedited model, which it was not asked about yet.
        weights: makes the edited weights.
        groups: the candidates.
        exact_stop: whether to stop a candidate that provably cannot win any more. The winner is the same; a
            loss that is not finite goes unseen where it comes after the stop.
        progress: told about it.

    Raises:
        EditError: a loss or a weight is not finite; the message names the candidate and the example.
    """
    found: dict[Candidate, Outcome] = {}
    with progress.phase("evaluations", 1 + sum(len(members) for _, _, members in groups)) as advance:
        unedited = best = _outcome(None, whole(evaluator.measure()))
        advance(1)
        # In the order of the layers, so that what comes before them is run once.
        for group in sorted(groups, key=lambda group: group[0].layer):
            target = weights.targets[group[0]]
            for candidate, partition, edited in weights.of(group):
                with _named(candidate, target), in_force(target, edited):
                    measured = evaluator.measure(target.layer, target.matrix, _stop(best) if exact_stop else None)
                if measured is not None:
                    found[candidate] = _outcome(candidate, measured, _added(weights, candidate, partition), partition)
                    best = winner([best, found[candidate]])
                advance(1)
    order = [candidate for _, _, members in groups for candidate in members]
    found = {candidate: found[candidate] for candidate in order if candidate in found}
    stopped = tuple(candidate for candidate in order if candidate not in found)
    best = winner([unedited, *found.values()])
    applied: set[Candidate | None] = set()
    # Measured with the weight that is applied, a winner by a hair may be none any more.
    while best.candidate is not None and best.candidate not in applied:
        applied.add(best.candidate)
        found[best.candidate] = _as_applied(best, best.candidate, evaluator, weights)
        best = winner([unedited, *found.values()])
    return Evaluated(unedited, tuple(found.values()), stopped, best)


def shape_of(target: TargetMatrix) -> tuple[int, int]:
    """(m, n), rows = output features."""
    return target.weight.shape[0], target.weight.shape[1]


@contextlib.contextmanager
def in_force(target: TargetMatrix, edited: torch.Tensor) -> Iterator[None]:
    """The edited weight inside, the former bits after it."""
    former = target.weight.clone()
    try:
        with torch.no_grad():
            target.weight.copy_(edited)
        yield
    finally:
        with torch.no_grad():
            target.weight.copy_(former)


@contextlib.contextmanager
def _named(candidate: Candidate, target: TargetMatrix) -> Iterator[None]:
    """Inside, errors say which candidate they are about."""
    try:
        yield
    except EditError as error:
        raise EditError(f"{target.module} at ρ = {candidate.rho:g}, K = {candidate.clusters}: {error}") from None


def _stop(best: Outcome) -> Hopeless:
    return lambda wrong, loss: cannot_win(best, wrong, loss)


def _as_applied(outcome: Outcome, candidate: Candidate, evaluator: Evaluator, weights: EditedWeights) -> Outcome:
    """A candidate's outcome with the very weight that `apply.apply` computes; measured again if that differs."""
    if outcome.partition != ROW_BLOCKS:
        return outcome
    target = weights.targets[candidate.target]
    ((_, partition, tried),) = weights.of((candidate.target, candidate.clusters, [candidate]))
    edited = truncate(target.weight, weights.ranks(candidate, partition), partition=partition)
    if torch.equal(edited, tried):
        return outcome
    with _named(candidate, target), in_force(target, edited):
        measured = whole(evaluator.measure(target.layer, target.matrix))
    return _outcome(candidate, measured, outcome.added_parameters, partition)


def _added(weights: EditedWeights, candidate: Candidate, partition: str) -> int:
    shape = shape_of(weights.targets[candidate.target])
    return kept_parameters(shape, weights.ranks(candidate, partition), partition) - shape[0] * shape[1]


def whole(measured: Measured | None) -> Measured:
    """What a measurement gave that nothing could stop.

    Raises:
        ValueError: it was stopped.
    """
    if measured is None:
        raise ValueError("an evaluation that nothing can stop was stopped")
    return measured


def _outcome(
    candidate: Candidate | None, measured: Measured, added_parameters: int = 0, partition: str = ROW_BLOCKS
) -> Outcome:
    return Outcome(
        candidate,
        measured.accuracy,
        measured.nll,
        measured.correct,
        added_parameters,
        partition,
        measured.predicted,
    )
