"""Stage 5: the winner on the test part, once, with the unedited model beside it."""

from __future__ import annotations

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.models.apply import applied
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.search.evaluate import completed
from cti_edits.stats import difference_interval, mcnemar_p_value


def measure(session: Session, test: CalibrationSet, edit: Edit, progress: Progress) -> Measurement:
    """The unedited and the edited model on the test rows, for the manifest's ``results.test``."""
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
    return Measurement(
        n=len(test.doc_ids),
        baseline=baseline.accuracy,
        edited=edited.accuracy,
        majority_class=test.majority_class,
        baseline_nll=baseline.nll,
        edited_nll=edited.nll,
        ci95=difference_interval(baseline.correct, edited.correct, test.records),
        p_value=mcnemar_p_value(baseline.correct, edited.correct),
    )
