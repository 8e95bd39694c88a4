"""What a model gives on the calibration examples, whichever evaluator asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cti_edits.errors import EditError
from cti_edits.harness.metrics import is_right
from cti_edits.harness.task import LoggedSample

NLL_STEP = 1e-6
"""Mean losses are rounded to this, in nats; below it the order shows in which a sum was taken."""

StopRule = Callable[[int, float], bool]
"""Given how many examples are wrong so far, and the sum of all losses: whether the rest cannot matter any more."""


class NotFiniteError(EditError):
    """A loss or a gradient is not finite. Examples that share a packed row get that from each other."""


@dataclass(frozen=True)
class Evaluation:
    """What the model, as it stands, gave on the calibration examples.

    Attributes:
        accuracy: share of examples that are right.
        nll: mean over examples of the mean negative log-likelihood of the gold answer's tokens, nats, rounded to
            `NLL_STEP`.
        correct: right or wrong, in the order of the calibration set.
        predicted: index of the label that the model gave each example, where the task has fixed labels.
    """

    accuracy: float
    nll: float
    correct: tuple[bool, ...]
    predicted: tuple[int, ...] | None = None


def summarize(
    samples: Sequence[LoggedSample], losses: Sequence[float], labels: Sequence[str] | None, metric: str
) -> Evaluation:
    """Put together what each example gave.

    Args:
        samples: what lm-eval logs of each example.
        losses: of each example, the mean negative log-likelihood of the gold answer's tokens.
        labels: the task's labels, if it has fixed ones.
        metric: name of the metric that says right or wrong.

    Raises:
        EditError: a loss is not finite, or the metric is not right or wrong; the message names the row.
    """
    correct = tuple(is_right(sample, metric) for sample in samples)
    checked = [checked_loss(loss, sample.doc_id) for sample, loss in zip(samples, losses, strict=True)]
    predicted = None
    # What decides under another metric, such as acc_norm, is not the likelihood alone.
    if labels is not None and metric == "acc":
        scores = ([float(response[0]) for response in sample.responses[: len(labels)]] for sample in samples)
        # Of equal ones the first, as in lm-eval's own accuracy.
        predicted = tuple(one.index(max(one)) for one in scores)
    # Rounded once and not at each step, so that the sum is the same in any order, and no less than that of a part.
    nll = round(round(math.fsum(checked) / len(checked) / NLL_STEP) * NLL_STEP, 12)
    return Evaluation(sum(correct) / len(correct), nll, correct, predicted)


def checked_loss(loss: float, doc_id: int) -> float:
    """A loss that is finite and, as a likelihood above 1 can only come of rounding, not below 0.

    Raises:
        NotFiniteError: it is not; the message names the row.
    """
    if not math.isfinite(loss):
        raise NotFiniteError(
            f"the log-likelihood of the gold answer on row {doc_id} is {-loss}; a wider dtype (dtype=float32) may help"
        )
    return max(0.0, loss)
