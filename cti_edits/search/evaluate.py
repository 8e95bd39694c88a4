"""Stage 4: evaluates the unedited model and every candidate."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.errors import about
from cti_edits.harness.benchmark_metrics import balanced_accuracy
from cti_edits.harness.evaluation import Evaluation, StopRule
from cti_edits.progress import Progress
from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.session import Session
from cti_edits.search.candidates import Candidate
from cti_edits.search.choice import Evaluate, choose
from cti_edits.search.guard import KlLimit
from cti_edits.search.logged_outcomes import LoggedOutcomes
from cti_edits.search.outcome import Outcome
from cti_edits.search.search_log import Steps
from cti_edits.search.selectors import BEST, Selector, find_selector
from cti_edits.search.time_budget import TimeBudget
from cti_edits.search.trials import Trial, Trials, applied_trial
from cti_edits.stats import wilson_interval


@dataclass(frozen=True)
class EvaluatedCandidates:
    """What the evaluation of a search's candidates gave.

    Attributes:
        unedited: the unedited model.
        outcomes: the candidates that were evaluated to the end, in the order of their groups.
        stopped: those that were not, since they could not win any more.
        best: the winner, measured with the very weight that `apply.apply` computes for it.
        batch_tokens: tokens in one pass, of every measurement; None where lm-eval decided.
        failed: those with which a loss is not finite, or that are over the limit on other text.
        left: those that the time did not suffice for.
    """

    unedited: Outcome
    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome
    batch_tokens: int | None
    failed: tuple[Candidate, ...] = ()
    left: tuple[Candidate, ...] = ()


def evaluate(
    session: Session,
    evaluator: Evaluator,
    trials: Trials,
    exact_stop: bool,
    progress: Progress,
    selector: str = BEST,
    gold: Sequence[int] | None = None,
    limit: KlLimit | None = None,
    phase: str = "evaluations",
    steps: Steps | None = None,
    budget: TimeBudget | None = None,
) -> EvaluatedCandidates:
    """Evaluate the unedited model and every candidate; the model has its former bits when this returns or raises.

    All that is compared comes from batches of one size. Where the memory is exhausted on the way, evaluation starts
    again with the smaller size, since the last bits of a log-likelihood depend on it.

    A candidate with which a loss is not finite loses, and a note says so; the others go on.

    Args:
        session: of the model.
        evaluator: of the unedited model, which it was not asked about yet.
        trials: the candidates, and their weights.
        exact_stop: whether to stop a candidate that provably cannot win any more. The winner is the same; a
            loss that is not finite goes unseen where it comes after the stop.
        progress: told about it.
        selector: what says which outcome wins.
        gold: the number of each example's right label, where the task has fixed labels.
        limit: how far the winner may move the predictions of other text; only those that lead are asked.
        phase: what this is called where its progress is shown.
        steps: of a search log, on these rows, with the `logged_outcomes.meaning` of the candidates. What is in it is
            not evaluated again.
        budget: of time; once it is over, candidates that are left stay so.

    Raises:
        EditError: a loss of the unedited model or a weight is not finite; the message names the example or the
            candidate. Or a plugin's part fails.
    """
    chooses, steps, budget = find_selector(selector), steps or Steps(), budget or TimeBudget()
    while True:
        size = evaluator.batch_tokens
        known = LoggedOutcomes(steps, size)
        try:
            return _evaluate_at_one_size(
                session, evaluator, trials, exact_stop, progress, chooses, gold, limit, phase, known, budget
            )
        except _SizeChangedError:
            evaluator.reset()
            progress.note(
                f"batches have {evaluator.batch_tokens} tokens now, they had {size}: the memory was exhausted, or a "
                "loss was not finite; evaluation starts again, so that all candidates are compared at one size"
            )


class _SizeChangedError(Exception):
    """The evaluator's batches have become smaller."""


def _evaluate_at_one_size(
    session: Session,
    evaluator: Evaluator,
    trials: Trials,
    exact_stop: bool,
    progress: Progress,
    selector: Selector,
    gold: Sequence[int] | None,
    limit: KlLimit | None,
    phase: str,
    known: LoggedOutcomes,
    budget: TimeBudget,
) -> EvaluatedCandidates:
    size = evaluator.batch_tokens
    told: set[Candidate] = set()
    leader: Outcome | None = None

    def run(start: int = 0, stop: StopRule | None = None) -> Evaluation | None:
        found = evaluator.evaluate(start, stop)
        if evaluator.batch_tokens != size:
            raise _SizeChangedError
        return found

    def passes(wanted: Collection[Candidate]) -> Iterator[tuple[Candidate, Evaluate]]:
        recalled = [candidate for candidate in wanted if known.has(candidate)]
        for candidate in recalled:
            yield candidate, watched(functools.partial(known.recalled, candidate))
            tell(candidate)
        rest = set(wanted).difference(recalled)
        made = trials.trials(rest) if rest else iter(())
        # One is tried in any case.
        while rest and not (told and budget.over()) and (trial := next(made, None)) is not None:
            yield trial.candidate, watched(functools.partial(known.evaluated, trial.candidate, evaluating(trial)))
            tell(trial.candidate)
            rest.discard(trial.candidate)

    def tell(candidate: Candidate) -> None:
        advance(1 if candidate not in told else 0)
        told.add(candidate)

    def watched(evaluate: Evaluate) -> Evaluate:
        """What leads is told of: by accuracy, whatever the selector says at the end."""

        def run(stop: StopRule | None) -> Outcome | None:
            nonlocal leader
            found = evaluate(stop)
            if found is not None and (leader is None or found.order() < leader.order()):
                leader = found
                progress.leader(leading_line(unedited, leader))
            return found

        return run

    def evaluating(trial: Trial) -> Evaluate:
        return lambda stop: evaluated_trial(session, run, trial, gold, stop)

    def as_applied(outcome: Outcome) -> Outcome:
        """Measured again where the very weights that `apply.apply` computes are others."""
        assert outcome.candidate is not None
        trial = trials.as_applied(outcome.candidate)
        if limit is not None:
            limit.check(outcome.candidate, (trial or applied_trial(trials, outcome.candidate)).weights)
        return outcome if trial is None else known.as_applied(outcome.candidate, evaluating(trial)) or outcome

    with progress.phase(phase, 1 + len(trials.candidates)) as advance:
        unedited = _outcome(completed(run()), gold)
        known.check_unedited(unedited)
        advance(1)
        choice = choose(unedited, trials.candidates, passes, as_applied, exact_stop, selector, budget.over)
    for why in choice.failed.values():
        progress.note(f"loses: {why}")
    return EvaluatedCandidates(
        unedited, choice.outcomes, choice.stopped, choice.best, size, tuple(choice.failed), choice.left
    )


def leading_line(unedited: Outcome, best: Outcome) -> str:
    """The best candidate so far beside the unedited model, in words, with intervals of 95 %."""
    figures = []
    for one in (best, unedited):
        low, high = wilson_interval(sum(one.correct), len(one.correct))
        figures.append(f"{100 * one.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})")
    return f"best so far {figures[0]}, unedited {figures[1]}: {best.candidate}"


def evaluated_trial(
    session: Session,
    run: Callable[[int, StopRule | None], Evaluation | None],
    trial: Trial,
    gold: Sequence[int] | None,
    stop: StopRule | None = None,
) -> Outcome | None:
    """The model with the weights of ``trial``, which it has no more when this returns or raises.

    Args:
        session: of the unedited model.
        run: evaluates the model as it is from a block on, and may be stopped.
        trial: a candidate.
        gold: the number of each example's right label, where the task has fixed labels.
        stop: what stops it, if anything does.

    Returns:
        None where it was stopped.
    """
    with about(str(trial.candidate)), contextlib.ExitStack() as replaced:
        for target, edited in trial.weights:
            replaced.enter_context(session.replaced_weight(target, edited))
        found = run(session.first_block(target for target, _ in trial.weights), stop)
    return None if found is None else _outcome(found, gold, trial)


def completed(evaluation: Evaluation | None) -> Evaluation:
    """What a measurement gave that nothing could stop.

    Raises:
        ValueError: it was stopped.
    """
    if evaluation is None:
        raise ValueError("an evaluation that nothing can stop was stopped")
    return evaluation


def _outcome(evaluation: Evaluation, gold: Sequence[int] | None, trial: Trial | None = None) -> Outcome:
    predicted = evaluation.predicted
    known = predicted is not None and gold is not None
    return Outcome(
        None if trial is None else trial.candidate,
        evaluation.accuracy,
        evaluation.nll,
        evaluation.correct,
        0 if trial is None else trial.added_parameters,
        ROW_BLOCKS if trial is None else trial.partition,
        predicted,
        balanced_accuracy(list(zip(gold or (), predicted or (), strict=True))) if known else None,
    )
