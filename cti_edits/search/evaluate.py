"""Stage 4: evaluates the unedited model and every candidate."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, kept_parameters
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import Evaluation, StopRule
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import TargetMatrix
from cti_edits.progress import Progress
from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.session import Session
from cti_edits.search.candidates import Candidate, Group
from cti_edits.search.choice import Evaluate, choose
from cti_edits.search.edited_weights import EditedWeights, shape_of
from cti_edits.search.outcome import Outcome
from cti_edits.search.selectors import BEST, Selector, find_selector


@dataclass(frozen=True)
class EvaluatedCandidates:
    """What the evaluation of a search's candidates gave.

    Attributes:
        unedited: the unedited model.
        outcomes: the candidates that were evaluated to the end, in the order of their groups.
        stopped: those that were not, since they could not win any more.
        best: the winner, measured with the very weight that `apply.apply` computes for it.
        batch_tokens: tokens in one pass, of every measurement; None where lm-eval decided.
    """

    unedited: Outcome
    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome
    batch_tokens: int | None


def evaluate(
    session: Session,
    evaluator: Evaluator,
    weights: EditedWeights,
    groups: Sequence[Group],
    exact_stop: bool,
    progress: Progress,
    selector: str = BEST,
) -> EvaluatedCandidates:
    """Evaluate the unedited model and every candidate; the model has its former bits when this returns or raises.

    All that is compared comes from batches of one size. Where the memory is exhausted on the way, evaluation starts
    again with the smaller size, since the last bits of a log-likelihood depend on it.

    Args:
        session: of the model.
        evaluator: of the unedited model, which it was not asked about yet.
        weights: makes the edited weights.
        groups: the candidates.
        exact_stop: whether to stop a candidate that provably cannot win any more. The winner is the same; a
            loss that is not finite goes unseen where it comes after the stop.
        progress: told about it.
        selector: what says which outcome wins.

    Raises:
        EditError: a loss or a weight is not finite; the message names the candidate and the example. Or a plugin's
            part fails.
    """
    while True:
        size = evaluator.batch_tokens
        try:
            return _evaluate(session, evaluator, weights, groups, exact_stop, progress, find_selector(selector))
        except _SizeChangedError:
            evaluator.reset()
            progress.note(
                f"batches have {evaluator.batch_tokens} tokens now, they had {size}: the memory was exhausted, or a "
                "loss was not finite; evaluation starts again, so that all candidates are compared at one size"
            )


class _SizeChangedError(Exception):
    """The evaluator's batches have become smaller."""


def _evaluate(
    session: Session,
    evaluator: Evaluator,
    weights: EditedWeights,
    groups: Sequence[Group],
    exact_stop: bool,
    progress: Progress,
    selector: Selector,
) -> EvaluatedCandidates:
    size = evaluator.batch_tokens

    def run(start: int = 0, stop: StopRule | None = None) -> Evaluation | None:
        found = evaluator.evaluate(start, stop)
        if evaluator.batch_tokens != size:
            raise _SizeChangedError
        return found

    def passes(wanted: Collection[Candidate]) -> Iterator[tuple[Candidate, Evaluate]]:
        # In the order of the layers, so that what comes before them is run once.
        for target_id, clusters, members in sorted(groups, key=lambda group: group[0].layer):
            those = [candidate for candidate in members if candidate in wanted]
            target = weights.targets[target_id]
            for candidate, partition, edited in weights.of((target_id, clusters, those)) if those else ():
                yield candidate, functools.partial(evaluate_candidate, candidate, partition, target, edited)
                advance(1 if candidate not in told else 0)
                told.add(candidate)

    def evaluate_candidate(
        candidate: Candidate, partition: str, target: TargetMatrix, edited: torch.Tensor, stop: StopRule | None
    ) -> Outcome | None:
        with _named(candidate, target), session.replaced_weight(target, edited):
            found = run(target.layer, stop)
        return None if found is None else _outcome(candidate, found, _added(weights, candidate, partition), partition)

    told: set[Candidate] = set()
    with progress.phase("evaluations", 1 + sum(len(members) for _, _, members in groups)) as advance:
        unedited = _outcome(None, completed(run()))
        advance(1)
        choice = choose(
            unedited,
            [candidate for _, _, members in groups for candidate in members],
            passes,
            lambda outcome: _as_applied(session, outcome, run, weights),
            exact_stop,
            selector,
        )
    return EvaluatedCandidates(unedited, choice.outcomes, choice.stopped, choice.best, size)


@contextlib.contextmanager
def _named(candidate: Candidate, target: TargetMatrix) -> Iterator[None]:
    """Inside, errors say which candidate they are about."""
    try:
        yield
    except EditError as error:
        raise EditError(f"{target.module} at ρ = {candidate.rho:g}, K = {candidate.clusters}: {error}") from None


def _as_applied(
    session: Session, outcome: Outcome, run: Callable[[int], Evaluation | None], weights: EditedWeights
) -> Outcome:
    """A candidate's outcome with the very weight that `apply.apply` computes; measured again if that differs."""
    candidate = outcome.candidate
    if candidate is None or outcome.partition != ROW_BLOCKS:
        return outcome
    target = weights.targets[candidate.target]
    ((_, partition, tried),) = weights.of((candidate.target, candidate.clusters, [candidate]))
    edited = truncate(target.weight, weights.ranks(candidate, partition), partition=partition)
    if torch.equal(edited, tried):
        return outcome
    with _named(candidate, target), session.replaced_weight(target, edited):
        found = completed(run(target.layer))
    return _outcome(candidate, found, outcome.added_parameters, partition)


def _added(weights: EditedWeights, candidate: Candidate, partition: str) -> int:
    shape = shape_of(weights.targets[candidate.target])
    return kept_parameters(shape, weights.ranks(candidate, partition), partition) - shape[0] * shape[1]


def completed(evaluation: Evaluation | None) -> Evaluation:
    """What a measurement gave that nothing could stop.

    Raises:
        ValueError: it was stopped.
    """
    if evaluation is None:
        raise ValueError("an evaluation that nothing can stop was stopped")
    return evaluation


def _outcome(
    candidate: Candidate | None, evaluation: Evaluation, added_parameters: int = 0, partition: str = ROW_BLOCKS
) -> Outcome:
    return Outcome(
        candidate,
        evaluation.accuracy,
        evaluation.nll,
        evaluation.correct,
        added_parameters,
        partition,
        evaluation.predicted,
    )
