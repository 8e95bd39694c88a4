"""What a task with fixed labels gains without any edit: a number added to the log-likelihood of each label.

A model may know the answer and yet put one label above the others whatever the question; an edit may do no more than
move that. So the correction is fitted on the rows that the search had, and stands beside the edit on the held-out rows.
No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence

from cti_edits.artifact.records import LabelBias
from cti_edits.harness.evaluation import Evaluation
from cti_edits.stats import difference_interval, mcnemar_p_value

Likelihoods = Sequence[Sequence[float]]
"""For each row, the log-likelihood of each label."""

MAX_LABELS = 64
"""A manifest has room for no more."""

RIDGE = 1e-3
"""Keeps the numbers finite where the rows never have a label, or are all told apart."""


def fitted_offsets(likelihoods: Likelihoods, gold: Sequence[int]) -> tuple[float, ...]:
    """b, of sum 0, by which softmax(a (likelihood + b)) makes the right labels likeliest; a > 0 is fitted, too.

    Args:
        likelihoods: of the labels.
        gold: the right label of each row.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    scores = np.asarray(likelihoods, dtype=float)
    scores = scores - scores.mean(axis=1, keepdims=True)
    right = np.eye(scores.shape[1])[list(gold)]

    def loss(parameters: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, object]:
        scale, added = np.exp(parameters[0]), parameters[1:]
        logits = scale * scores + added
        total = logsumexp(logits, axis=1, keepdims=True)
        off = np.exp(logits - total) - right
        value = float((total[:, 0] - (logits * right).sum(axis=1)).mean() + RIDGE * (added @ added))
        slope = scale * (off * scores).sum(axis=1).mean() + 2 * RIDGE * parameters[0]
        return value + RIDGE * float(parameters[0]) ** 2, np.array([slope, *(off.mean(axis=0) + 2 * RIDGE * added)])

    found = minimize(
        loss,
        np.zeros(1 + scores.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-7, 7)] + [(None, None)] * scores.shape[1],
    ).x
    offsets = found[1:] / np.exp(found[0])
    return tuple(float(f"{one:.9g}") for one in offsets - offsets.mean())


def corrected(likelihoods: Likelihoods, offsets: Sequence[float]) -> list[int]:
    """The label of each row that is likeliest with the correction; the first of equals."""
    shifted = ([value + offset for value, offset in zip(row, offsets, strict=True)] for row in likelihoods)
    return [row.index(max(row)) for row in shifted]


def label_bias(
    calibration: Evaluation,
    calibration_gold: Sequence[int],
    test: Evaluation,
    test_gold: Sequence[int],
    edited: Sequence[bool],
    records: Sequence[str] | None,
) -> LabelBias | None:
    """The correction beside an edit; None where the task has no fixed labels.

    Args:
        calibration: the unedited model on the rows that the search had.
        calibration_gold: their right labels.
        test: the unedited model on the held-out rows.
        test_gold: their right labels.
        edited: which of these are right with the edit.
        records: the record of each, where some share one.
    """
    if calibration.likelihoods is None or test.likelihoods is None:
        return None
    if not 2 <= len(calibration.likelihoods[0]) <= MAX_LABELS:
        return None
    offsets = fitted_offsets(calibration.likelihoods, calibration_gold)
    predicted = corrected(test.likelihoods, offsets)
    right = [one == gold for one, gold in zip(predicted, test_gold, strict=True)]
    return LabelBias(
        offsets,
        len(right),
        sum(right) / len(right),
        difference_interval(right, edited, records),
        mcnemar_p_value(right, edited),
    )
