"""What the evaluation of a candidate gave, and which of two outcomes is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NLL_STEP
from cti_edits.search.candidates import Candidate

NO_LABELS = "metric: balanced accuracy is of tasks that have the same labels for every example, and acc"


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
        balanced: mean over the labels of the accuracy on their examples, where the task has fixed labels.
    """

    candidate: Candidate | None
    accuracy: float
    nll: float
    correct: tuple[bool, ...]
    added_parameters: int
    partition: str = ROW_BLOCKS
    predicted: tuple[int, ...] | None = None
    balanced: float | None = None

    def order(self) -> tuple[float, float, int]:
        """Sort key, best first: accuracy, then lower NLL of the gold answer, then fewer kept parameters."""
        return (-self.accuracy, self.nll, self.added_parameters)


def likeliest(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome with the lowest NLL of the gold answers; of equals, the best."""
    return min(outcomes, key=lambda one: (one.nll, one.order()))


def cannot_be_likeliest(best: Outcome, _wrong: int, loss: float) -> bool:
    """Whether a candidate is not `likeliest` whatever its remaining examples give. Arguments as in `cannot_win`."""
    return loss / len(best.correct) > best.nll + NLL_STEP


def best_balanced(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome with the highest balanced accuracy; of equals, the best.

    Raises:
        EditError: the task has no fixed labels.
    """
    if any(one.balanced is None for one in outcomes):
        raise EditError(NO_LABELS)
    return min(outcomes, key=lambda one: (-(one.balanced or 0.0), one.order()))


def least_change(outcomes: Sequence[Outcome]) -> Outcome:
    """Of the outcomes within one standard error of the best, the one that changes the fewest parameters.

    The unedited model changes none. The standard error is that of the difference on the same examples.
    """
    best = winner(outcomes)
    near = [one for one in outcomes if best.accuracy - one.accuracy <= _standard_error(best, one)]
    return min(near, key=lambda one: (one.candidate is not None, abs(one.added_parameters), one.order()))


def _standard_error(one: Outcome, other: Outcome) -> float:
    """Of the difference of two accuracies on the same examples."""
    n = len(one.correct)
    changes = [int(first) - int(second) for first, second in zip(one.correct, other.correct, strict=True)]
    difference = sum(changes) / n
    return math.sqrt(max(0.0, sum(change * change for change in changes) / n - difference**2) / n)


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
