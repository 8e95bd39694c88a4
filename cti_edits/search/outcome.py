"""What the evaluation of a candidate gave, and which of two outcomes is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.harness.evaluation import NLL_STEP
from cti_edits.search.candidates import Candidate


@dataclass(frozen=True)
class Outcome:
    """What an evaluation gave.

    Attributes:
        candidate: the edit, or None for the unedited model.
        accuracy: share of examples that are right.
        nll: mean over examples of the mean negative log-likelihood of the gold answer's tokens, nats.
        correct: right or wrong, example by example.
        predicted: index of the label that the model gave each example, where the task has fixed labels.
        partition: how the candidate's rows are assigned to blocks, as a manifest writes it.
        added_parameters: kept minus dense parameters, 0 for the unedited model.
    """

    candidate: Candidate | None
    accuracy: float
    nll: float
    correct: tuple[bool, ...]
    added_parameters: int
    partition: str = ROW_BLOCKS
    predicted: tuple[int, ...] | None = None

    def order(self) -> tuple[float, float, int]:
        """Sort key, best first: accuracy, then lower NLL of the gold answer, then fewer kept parameters."""
        return (-self.accuracy, self.nll, self.added_parameters)


def cannot_win(best: Outcome, wrong: int, loss: float) -> bool:
    """Whether a candidate loses against ``best`` whatever the rest of its examples give.

    It can still have all of them right, at no further loss. One that may come out equal is not ruled out.

    Args:
        best: an outcome on all examples.
        wrong: examples that are wrong so far.
        loss: sum of the losses of all examples so far.
    """
    n = len(best.correct)
    accuracy = (n - wrong) / n
    return accuracy < best.accuracy or (accuracy == best.accuracy and loss / n > best.nll + NLL_STEP)


def winner(outcomes: Iterable[Outcome]) -> Outcome:
    """The best outcome, the unedited model's among them; see `Outcome.order`. The first of equals wins."""
    return min(outcomes, key=Outcome.order)
