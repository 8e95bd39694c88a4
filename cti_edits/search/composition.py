"""Several edits, each the best on top of those before: LASER's greedy composition (arXiv:2312.13558, section 5.1)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.models.identity import checkpoint_of
from cti_edits.search.candidates import Candidate
from cti_edits.search.evaluate import EvaluatedCandidates, completed, evaluate
from cti_edits.search.trials import SearchContext, Trials, applied_trial


@dataclass(frozen=True)
class CompositionStep:
    """One of the edits that were composed.

    Attributes:
        candidate: the edit that was added.
        accuracy: on the calibration examples, with it and those before.
        nll: likewise, of the gold answer.
        held_out: accuracy on the test part, where one is measured.
    """

    candidate: Candidate
    accuracy: float
    nll: float
    held_out: float | None


def compose(
    context: SearchContext,
    first: Trials,
    evaluated: EvaluatedCandidates,
    edit: Edit,
    propose: Callable[[SearchContext], Trials],
    exact_stop: bool,
    test: CalibrationSet | None,
) -> tuple[Edit, tuple[CompositionStep, ...]]:
    """Add edits to the winner of a search for as long as one helps, ``settings.compose`` of them at most.

    Gradients, scores and evaluations of each are of the model with those before. A matrix is edited once: those that
    are edited already are left out. It helps if it beats the model as it stands, as a winner beats the unedited model.

    Args:
        context: of the search.
        first: its trials.
        evaluated: what they gave.
        edit: the manifest of its winner.
        propose: what gives further trials.
        exact_stop: see `evaluate.evaluate`.
        test: the rows that every step is measured on, if it is.

    Returns:
        The manifest of all edits, and the steps; none where nothing beat the unedited model.

    Raises:
        EditError: see `run_search`.
    """
    session, settings, trials = context.session, context.settings, first
    checkpoint = checkpoint_of(session.lm.model, **session.lm.checkpoint_location)
    held_out = None if test is None else session.evaluator(test)
    if held_out is not None:
        # The unedited model comes first; see `Evaluator`.
        held_out.evaluate()
    edits: list[MatrixEdit] = list(edit.edits)
    steps: list[CompositionStep] = []
    left, tried = dict(context.targets), 0
    with contextlib.ExitStack() as in_force:
        while (best := evaluated.best).candidate is not None:
            for target, weight in applied_trial(trials, best.candidate).weights:
                in_force.enter_context(session.replaced_weight(target, weight))
                del left[target.id]
            accuracy = None if held_out is None else completed(held_out.evaluate()).accuracy
            steps.append(CompositionStep(best.candidate, best.accuracy, best.nll, accuracy))
            if len(steps) == settings.compose or not left:
                break
            trials = propose(dataclasses.replace(context, targets=dict(left)))
            evaluator = session.evaluator(context.calibration)
            gold = context.calibration.gold_index
            evaluated = evaluate(session, evaluator, trials, exact_stop, context.progress, settings.selector, gold)
            tried += len(trials.candidates)
            if evaluated.best.candidate is not None:
                edits += trials.matrix_edits(evaluated.best.candidate, checkpoint)
    return _with(edit, edits, steps, tried), tuple(steps)


def _with(edit: Edit, edits: list[MatrixEdit], steps: list[CompositionStep], tried: int) -> Edit:
    """The manifest of the first edit, with all of them."""
    if not steps:
        return edit
    calibration, search, said = edit.results.calibration, edit.search, (edit.description or "").removesuffix(".")
    if len(steps) > 1:
        said += f"; then {len(steps) - 1} more, each the best on top of those before"
    return dataclasses.replace(
        edit,
        description=f"{said}.",
        edits=tuple(edits),
        search=None if search is None else dataclasses.replace(search, candidates=(search.candidates or 0) + tried),
        results=dataclasses.replace(
            edit.results,
            calibration=None
            if calibration is None
            else dataclasses.replace(calibration, edited=steps[-1].accuracy, edited_nll=steps[-1].nll),
        ),
    )
