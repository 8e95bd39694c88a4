from __future__ import annotations

import json
import random
from typing import Any

import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score  # type: ignore[import-untyped]

from cti_edits.harness.benchmark_metrics import (
    balanced_accuracy,
    containment_metrics,
    contains,
    label_metrics,
    majority_rate,
    same_text,
    share_name,
)


def test_an_example_of_a_task_with_labels() -> None:
    found = label_metrics(("yes", "no", "may-be"), 2, [(-3.0, False), (-1.0, False), (-2.0, True)])
    assert found == {
        "acc": 0.0,
        "balanced_acc": (2, 1),
        "majority_class": 2,
        "share_yes": 0.0,
        "share_no": 1.0,
        "share_may_be": 0.0,
    }
    assert json.loads(json.dumps(found))["balanced_acc"] == [2, 1]


def test_of_equal_likelihoods_the_first_label_is_predicted() -> None:
    tied = label_metrics(("a", "b"), 0, [(-1.5, False), (-1.5, False)])
    assert (tied["acc"], tied["share_a"], tied["share_b"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_accuracy_is_scikit_learns(seed: int) -> None:
    draw = random.Random(seed)
    golds = [draw.choices(range(4), (8, 4, 2, 1))[0] for _ in range(60)]
    predictions = [gold if draw.random() < 0.5 else draw.randrange(4) for gold in golds]
    pairs = list(zip(golds, predictions, strict=True))
    assert balanced_accuracy(pairs) == pytest.approx(balanced_accuracy_score(golds, predictions), abs=1e-12)
    assert balanced_accuracy(pairs) == pytest.approx(recall_score(golds, predictions, average="macro"), abs=1e-12)


def test_a_collapse_onto_one_label_shows() -> None:
    # 63 % accuracy, from one label of two.
    pairs = [(gold, 1) for gold in [1] * 63 + [0] * 37]
    assert balanced_accuracy(pairs) == 0.5
    assert majority_rate([gold for gold, _ in pairs]) == 0.63


def test_a_label_that_does_not_occur_does_not_count() -> None:
    assert balanced_accuracy([(0, 0), (0, 1), (2, 2)]) == 0.75


def test_names_of_shares_hold_no_hyphen() -> None:
    assert share_name("non-entailment") == "share_non_entailment"


@pytest.mark.parametrize(
    ("answer", "text", "same", "inside"),
    [
        ("Paris", " paris", True, True),
        ("Paris", " PARIS\n", True, True),
        ("Paris", " Paris,", False, True),
        ("Paris", " Par", False, False),
        (" yes ", "well, Yes!", False, True),
        ("1945", "", False, False),
        ("a  b", "A B", False, False),
    ],
)
def test_texts_are_compared_without_case_and_outer_blanks(answer: str, text: str, same: bool, inside: bool) -> None:
    assert same_text(answer, text) is same
    assert contains(answer, text) is inside


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (" nobody knows", {"acc": 0.0, "acc_laser": 1.0}),
        (" the Ohio.", {"acc": 1.0, "acc_laser": 1.0}),
    ],
)
def test_laser_counts_an_answer_that_the_question_holds(generation: str, expected: dict[str, Any]) -> None:
    assert containment_metrics("Is the Ohio long? The answer is", "ohio", generation) == expected


def test_laser_looks_at_one_string_across_prompt_and_generation() -> None:
    assert containment_metrics("The answer is", "is it", " it")["acc_laser"] == 1.0
    assert containment_metrics("The answer is", "is it", " it")["acc"] == 0.0
