"""Which evaluator a search has: the fast one, or where that cannot be, the reference."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.measured import Measured
from cti_edits.harness.questions import UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.progress import Progress
from cti_edits.replay.answers import Hopeless
from cti_edits.replay.replay_evaluator import ReplayEvaluator

EvaluatorName = Literal["replay", "reference"]


class Evaluator(Protocol):
    """Measures a model on the calibration examples."""

    def measure(self, start: int = 0, matrix: str | None = None, hopeless: Hopeless | None = None) -> Measured | None:
        """See `replay_evaluator.ReplayEvaluator.measure`; the first call is for the unedited model."""


def evaluator_of(name: EvaluatorName, lm: Any, calibration: CalibrationSet, progress: Progress) -> Evaluator:
    """The evaluator ``name`` of unedited ``lm``; the reference one where the task or the model needs it, and a note.

    Raises:
        EditError: an answer has no tokens, or does not fit the model.
    """
    if name == "replay":
        try:
            return ReplayEvaluator(lm, calibration)
        except UnsupportedError as error:
            progress.note(f"the reference evaluator takes over, which is slower: {error}")
    return ReferenceEvaluator(lm, calibration)
