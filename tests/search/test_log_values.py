"""What a log holds is read as it was, to the last bit."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.harness.evaluation import Evaluation
from cti_edits.search import log_values as lv
from cti_edits.search.candidates import RankCut
from cti_edits.search.outcome import Outcome

CUT = RankCut(MatrixId(3, "U_in"), 4, 0.05)
floats = st.floats(allow_nan=False, allow_infinity=False)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


@given(st.lists(st.floats(allow_nan=False), max_size=9))
def test_vectors(values: list[float]) -> None:
    vector = torch.tensor(values, dtype=torch.float64)
    (found,) = lv.vectors_from(through_json(lv.vectors_json([vector])))
    assert found.dtype == torch.float64
    assert torch.equal(found, vector)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1)), min_size=1, max_size=9), floats, st.booleans())
def test_evaluations_and_outcomes(rows: list[tuple[bool, int]], nll: float, labelled: bool) -> None:
    correct = tuple(right for right, _ in rows)
    predicted = tuple(label for _, label in rows) if labelled else None
    likelihoods = tuple((-math.inf, nll) for _ in rows) if labelled else None
    evaluation = Evaluation(sum(correct) / len(correct), nll, correct, predicted, likelihoods)
    assert lv.evaluation_from(through_json(lv.evaluation_json(evaluation))) == evaluation
    outcome = Outcome(CUT, evaluation.accuracy, nll, correct, -7, "row-blocks", predicted, nll if labelled else None)
    assert lv.outcome_from(CUT, through_json(lv.outcome_json(outcome))) == outcome


def test_candidates_of_two_kinds_are_two() -> None:
    fields = lv.fields_of(CUT)
    assert fields["kind"] == "RankCut"
    assert fields["target"]["layer"] == 3
    assert (fields["clusters"], fields["rho"]) == (4, 0.05)


@pytest.mark.parametrize("value", ["x", 1, None, [], {"correct": "12"}, {}])
def test_what_is_none(value: Any) -> None:
    reads: list[Callable[[Any], object]] = [lv.evaluation_from, functools.partial(lv.outcome_from, None), lv.guard_from]
    for read in [*reads, *([] if value == [] else [lv.vectors_from])]:
        with pytest.raises((KeyError, TypeError, ValueError, IndexError, AttributeError)):
            read(value)
