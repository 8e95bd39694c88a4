"""The fast evaluator beside the reference one, on unedited and edited models."""

from __future__ import annotations

from typing import Any

import pytest

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.evaluation import Evaluation
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.session import replaced_weight
from tests.support.small_searches import edited_weights


def assert_same(ours: Evaluation | None, theirs: Evaluation) -> None:
    assert ours is not None
    assert ours.correct == theirs.correct
    assert ours.predicted == theirs.predicted
    assert ours.accuracy == theirs.accuracy
    assert ours.nll == pytest.approx(theirs.nll, rel=2e-5, abs=1e-5)


def compare(lm: Any, calibration: CalibrationSet, evaluator: Any = None, layers: tuple[int, ...] = (0, 1, 2)) -> None:
    """Unedited, then with each matrix edited, and unedited again; what is measured is not all the same."""
    reference = ReferenceEvaluator(lm, calibration)
    evaluator = evaluator or ReplayEvaluator(lm, calibration)
    unedited = reference.evaluate()
    assert_same(evaluator.evaluate(), unedited)
    losses = {unedited.nll}
    for target, edited in edited_weights(lm.model, layers):
        with replaced_weight(target, edited):
            theirs = reference.evaluate()
            assert_same(evaluator.evaluate(target.layer), theirs)
            losses.add(theirs.nll)
    assert len(losses) == 1 + 2 * len(layers)
    assert_same(evaluator.evaluate(), unedited)
    assert_same(evaluator.evaluate(2), unedited)
