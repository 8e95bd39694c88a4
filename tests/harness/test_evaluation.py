"""What the examples gave, put together."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NLL_STEP, NotFiniteError, checked_loss, summarize
from cti_edits.harness.task import LoggedSample


def sample(doc_id: int, right: float, *scores: float) -> LoggedSample:
    return LoggedSample(doc_id, [(score, False) for score in scores], {"acc": right})


def test_the_figures_by_hand() -> None:
    samples = [sample(0, 1.0, -1.0, -2.0), sample(3, 0.0, -5.0, -4.0), sample(4, 1.0, -3.0, -3.0)]
    found = summarize(samples, [0.5, 1.25, 0.0], ("a", "b"), "acc")
    assert (found.accuracy, found.correct) == (2 / 3, (True, False, True))
    assert found.nll == pytest.approx(1.75 / 3, abs=NLL_STEP / 2)
    # Of equal ones the first.
    assert found.predicted == (0, 1, 0)


def test_only_the_labels_own_likelihoods_decide() -> None:
    """acc_mutual_info asks for the labels once more, without the prompt."""
    found = summarize([sample(0, 1.0, -3.0, -2.0, -1.0, -0.5)], [0.0], ("a", "b"), "acc")
    assert found.predicted == (1,)


@pytest.mark.parametrize(("labels", "metric"), [(None, "acc"), (("a", "b"), "acc_norm")])
def test_labels_are_not_told_where_likelihoods_alone_do_not_decide(labels: Any, metric: str) -> None:
    one = sample(0, 1.0, -1.0, -2.0)
    one = dataclasses.replace(one, metrics={**one.metrics, "acc_norm": 0.0})
    found = summarize([one], [0.0], labels, metric)
    assert found.predicted is None
    assert found.correct == (metric == "acc",)


def test_the_loss_does_not_depend_on_the_order_of_the_examples() -> None:
    generator = random.Random(0)
    losses = [10.0 ** generator.uniform(-12, 6) for _ in range(50)]
    samples = [sample(number, 1.0, 0.0) for number in range(50)]
    found = {summarize(samples, generator.sample(losses, 50), None, "acc").nll for _ in range(20)}
    assert len(found) == 1


def test_the_loss_is_a_whole_number_of_steps() -> None:
    for loss in (0.0, 1e-7, 0.1234565, 7.0000004):
        found = summarize([sample(0, 1.0, 0.0)], [loss], None, "acc").nll
        assert found == pytest.approx(loss, abs=0.51 * NLL_STEP)
        assert found == round(found, 6)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_its_row(loss: float) -> None:
    with pytest.raises(NotFiniteError, match=r"gold answer on row 17 is -?(nan|inf); a wider dtype"):
        summarize([sample(3, 1.0, 0.0), sample(17, 1.0, 0.0)], [1.0, loss], None, "acc")


def test_a_likelihood_above_one_is_rounding() -> None:
    assert checked_loss(-1e-7, 0) == 0.0
    assert checked_loss(2.5, 0) == 2.5


def test_a_metric_between_right_and_wrong_is_refused() -> None:
    with pytest.raises(EditError, match="0 or 1 for each example; on row 2"):
        summarize([sample(2, 0.5, 0.0)], [0.0], None, "acc")
