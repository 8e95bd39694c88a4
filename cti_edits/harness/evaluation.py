"""The result of evaluating a model on the calibration examples, by whichever evaluator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cti_edits.errors import EditError
from cti_edits.harness.metrics import is_right
from cti_edits.harness.task import LoggedSample

NLL_STEP = 1e-6
"""Mean losses are rounded to this, in nats; smaller differences depend on the order of the summation."""

StopRule = Callable[[int, float], bool]
"""Takes the number of wrong examples so far and the sum of their losses; says whether the rest can be left out."""


class NotFiniteError(EditError):
    """A loss or a gradient is not finite. In a packed row, one example can cause that for the others."""


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and loss of the model, as it is, on the calibration examples.

    Attributes:
        accuracy: share of examples that are right.
        nll: mean over examples of the mean negative log-likelihood of the gold answer's tokens, nats, rounded to
            `NLL_STEP`.
        correct: right or wrong, in the order of the calibration set.
        predicted: index of the label that the model gave each example, where the task has fixed labels.
        likelihoods: of each example, the log-likelihood of each of these labels.
    """

    accuracy: float
    nll: float
    correct: tuple[bool, ...]
    predicted: tuple[int, ...] | None = None
    likelihoods: tuple[tuple[float, ...], ...] | None = None


def summarize(
    samples: Sequence[LoggedSample], losses: Sequence[float], labels: Sequence[str] | None, metric: str
) -> Evaluation:
    """The evaluation, from the results of each example.

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
    likelihoods = None
    # What decides under another metric, such as acc_norm, is not the likelihood alone.
    if labels is not None and metric == "acc":
        likelihoods = tuple(
            tuple(float(response[0]) for response in sample.responses[: len(labels)]) for sample in samples
        )
    # Of equal ones the first, as in lm-eval's own accuracy.
    predicted = None if likelihoods is None else tuple(one.index(max(one)) for one in likelihoods)
    # Rounded once and not at each step, so that the sum is the same in any order, and no less than that of a part.
    nll = round(round(math.fsum(checked) / len(checked) / NLL_STEP) * NLL_STEP, 12)
    return Evaluation(sum(correct) / len(correct), nll, correct, predicted, likelihoods)


def checked_loss(loss: float, doc_id: int) -> float:
    """The loss if it is finite; 0 if it is below 0, which can only be rounding.

    Raises:
        NotFiniteError: it is not finite; the message names the row.
    """
    if not math.isfinite(loss):
        raise NotFiniteError(
            f"the log-likelihood of the gold answer on row {doc_id} is {-loss}; a wider dtype (dtype=float32) may help"
        )
    return max(0.0, loss)
