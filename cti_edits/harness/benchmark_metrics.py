"""The metrics of the bundled tasks, of one example and over all of them. Used by tasks/."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cti_edits.harness.task import Doc
from cti_edits.stats import majority_class

Figure = float | int | tuple[int, int]
"""What lm-eval collects of each example under a metric."""


def label_metrics(labels: Sequence[str], gold: int, responses: Sequence[tuple[float, bool]]) -> dict[str, Figure]:
    """The metrics of one example of a task with fixed labels.

    Args:
        labels: the task's labels.
        gold: index of the right one.
        responses: log-likelihood, and whether it is the greedy answer, of each label. Of equal ones the first is the
            prediction, as in lm-eval's own ``acc``.

    Returns:
        ``acc``; what `balanced_accuracy` and `majority_rate` add up under ``balanced_acc`` and ``majority_class``; and
        1.0 under the `share_name` of the predicted label, 0.0 under the others', whose means are the shares.
    """
    predicted = int(np.argmax([likelihood for likelihood, _ in responses]))
    return {
        "acc": float(predicted == gold),
        "balanced_acc": (gold, predicted),
        "majority_class": gold,
        **{share_name(label): float(predicted == index) for index, label in enumerate(labels)},
    }


TRUTH = ("true", "false")
"""The labels of the tasks that ask whether a statement is true; their rows have a ``label``, 1 for true."""


def truth_choices(_: Doc) -> list[str]:
    """The choices of a task that asks for the truth."""
    return list(TRUTH)


def truth_target(doc: Doc) -> int:
    """Index of its gold answer among the choices."""
    return 0 if doc["label"] == 1 else 1


def truth_results(doc: Doc, responses: Sequence[tuple[float, bool]]) -> dict[str, Figure]:
    """The metrics of one of its examples."""
    return label_metrics(TRUTH, truth_target(doc), responses)


def share_name(label: str) -> str:
    """The metric that holds the share of examples for which ``label`` is predicted."""
    return f"share_{label.replace('-', '_')}"


def balanced_accuracy(pairs: Sequence[tuple[int, int]]) -> float:
    """Mean over the gold labels that occur of the accuracy on their examples; ``pairs`` are gold and predicted."""
    right: dict[int, list[bool]] = {}
    for gold, predicted in pairs:
        right.setdefault(gold, []).append(gold == predicted)
    return sum(sum(hits) / len(hits) for hits in right.values()) / len(right)


def majority_rate(golds: Sequence[int]) -> float:
    """Share of the most frequent gold label: the accuracy of always giving that answer."""
    return majority_class(golds)


def same_text(answer: str, text: str) -> bool:
    """Whether ``text`` is ``answer``, case and outer blanks aside."""
    return text.strip().lower() == answer.strip().lower()


def contains(answer: str, text: str) -> bool:
    """Whether ``answer`` stands in ``text``, case and outer blanks aside."""
    return answer.strip().lower() in text.strip().lower()


def containment_metrics(prompt: str, answer: str, generation: str) -> dict[str, float]:
    """``acc``: the answer stands in the new text. ``acc_laser``: in prompt and new text, which LASER looks at."""
    return {
        "acc": float(contains(answer, generation)),
        "acc_laser": float(contains(answer, prompt + generation)),
    }
