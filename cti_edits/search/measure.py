"""Stage 5: the winner on the test part, once, with the unedited model and random edits beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import LabelBias, Measurement, RandomControl
from cti_edits.errors import printable
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.evaluation import Evaluation
from cti_edits.models.apply import applied
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.search.control import RandomDraws, has_control, random_control
from cti_edits.search.evaluate import completed
from cti_edits.search.label_bias import MAX_LABELS, label_bias
from cti_edits.search.outcome import Outcome
from cti_edits.stats import difference_interval, mcnemar_p_value


@dataclass(frozen=True)
class HeldOutFigures:
    """What rows say that the search did not see.

    Attributes:
        test: of the unedited and the edited model.
        control: of random edits, where they were asked for.
        label_bias: of the unedited model with the likelihoods of its labels corrected, where the task has fixed ones.
    """

    test: Measurement
    control: RandomControl | None = None
    label_bias: LabelBias | None = None


def measure(
    session: Session,
    test: CalibrationSet,
    edit: Edit,
    progress: Progress,
    draws: RandomDraws | None = None,
    calibration: CalibrationSet | None = None,
) -> HeldOutFigures:
    """The unedited and the edited model on the test rows, and what is to stand beside them.

    Args:
        session: of the unedited model.
        test: the rows.
        edit: what was found.
        progress: told about each step.
        draws: how random edits are drawn; None for none.
        calibration: the rows that labels are corrected by; None for no such correction.
    """
    with progress.phase("test part", 2 if edit.edits else 1) as advance:
        evaluator = session.evaluator(test)
        baseline = completed(evaluator.evaluate())
        advance(1)
        edited = baseline
        if edit.edits:
            with applied(edit, session.lm.model, **session.lm.checkpoint_location):
                # From the start: asked once, what enters the edited block would only take memory.
                edited = completed(evaluator.evaluate())
            advance(1)
    control = None
    if draws is not None and has_control(edit):
        control = random_control(
            session, edit, draws, len(test.doc_ids), lambda: completed(evaluator.evaluate()), progress
        )
    measured = compared(test, baseline, edited)
    correction = None
    if calibration is not None and edit.edits and baseline.likelihoods is not None:
        known = completed(session.evaluator(calibration).evaluate())
        correction = label_bias(known, calibration.gold_index, baseline, test.gold_index, edited.correct, test.records)
    return HeldOutFigures(measured, control, correction)


def compared(rows: CalibrationSet, baseline: Evaluation | Outcome, edited: Evaluation | Outcome) -> Measurement:
    """What is said of the unedited and an edited model on the same rows, none of which chose the edit."""
    records = rows.records
    return Measurement(
        n=len(rows.doc_ids),
        baseline=baseline.accuracy,
        edited=edited.accuracy,
        majority_class=rows.majority_class,
        baseline_nll=baseline.nll,
        edited_nll=edited.nll,
        ci95=difference_interval(baseline.correct, edited.correct, records),
        p_value=mcnemar_p_value(baseline.correct, edited.correct),
        records=None if records is None else len(set(records)),
        **answers(rows, baseline.predicted, edited.predicted),
    )


class Answers(TypedDict, total=False):
    """Those of `Measurement`."""

    labels: tuple[str, ...]
    baseline_answers: tuple[int, ...]
    edited_answers: tuple[int, ...]


def answers(rows: CalibrationSet, baseline: Sequence[int] | None, edited: Sequence[int] | None) -> Answers:
    """How often each of the task's labels is given; nothing for a task without fixed ones.

    Args:
        rows: the examples.
        baseline: the number of the label that the unedited model gave each.
        edited: likewise with the edit.
    """
    if rows.labels is None or baseline is None or edited is None or not 2 <= len(rows.labels) <= MAX_LABELS:
        return {}
    counts = [tuple(given.count(label) for label in range(len(rows.labels))) for given in (baseline, edited)]
    named = tuple(printable(label.strip() or repr(label)) for label in rows.labels)
    return {"labels": named, "baseline_answers": counts[0], "edited_answers": counts[1]}
