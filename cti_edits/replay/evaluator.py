"""What both evaluators offer."""

from __future__ import annotations

from typing import Protocol

from cti_edits.harness.evaluation import Evaluation, StopRule


class Evaluator(Protocol):
    """Measures a model on the calibration examples."""

    def evaluate(self, start: int = 0, stop: StopRule | None = None) -> Evaluation | None:
        """See `replay_evaluator.ReplayEvaluator.evaluate`; the first call is for the unedited model."""

    @property
    def batch_tokens(self) -> int | None:
        """Tokens in one pass, at most; less than before once the memory was exhausted. None where lm-eval decides."""

    def reset(self) -> None:
        """Forget what was measured, but for the size of batches; the unedited model comes first again."""
