"""Which evaluator a search has: the fast one, or where that cannot be, the reference."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.evaluation import Evaluation, StopRule
from cti_edits.harness.questions import UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.progress import Progress
from cti_edits.replay.replay_evaluator import ReplayEvaluator

EvaluatorName = Literal["replay", "reference"]


class Evaluator(Protocol):
    """Measures a model on the calibration examples."""

    def evaluate(self, start: int = 0, matrix: str | None = None, stop: StopRule | None = None) -> Evaluation | None:
        """See `replay_evaluator.ReplayEvaluator.evaluate`; the first call is for the unedited model."""

    @property
    def batch_tokens(self) -> int | None:
        """Tokens in one pass, at most; less than before once the memory was exhausted. None where lm-eval decides."""

    def reset(self) -> None:
        """Forget what was measured, but for the size of batches; the unedited model comes first again."""


def evaluator_of(
    name: EvaluatorName, lm: Any, calibration: CalibrationSet, progress: Progress, rows: int | None = None
) -> Evaluator:
    """The evaluator ``name`` of unedited ``lm``; the reference one where the task or the model needs it, and a note.

    Args:
        name: which is wanted.
        lm: a model of `harness.lm` or `harness.masked_lm`.
        calibration: the examples.
        progress: is given the note.
        rows: packed rows in one pass of the fast evaluator; see `layout.Layout`.

    Raises:
        EditError: an answer has no tokens, or does not fit the model.
    """
    if name == "replay":
        try:
            return ReplayEvaluator(lm, calibration, rows)
        except UnsupportedError as error:
            progress.note(f"the reference evaluator takes over, which is slower: {error}")
    return ReferenceEvaluator(lm, calibration)
