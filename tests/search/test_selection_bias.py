from __future__ import annotations

import numpy as np
import pytest

from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.outcome import Outcome
from cti_edits.search.selection_bias import selection_corrected


def outcome(number: int | None, right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Outcome:
    candidate = None if number is None else RankCut(MatrixId(number, "U_in"), 1, 0.5)
    return Outcome(candidate, float(right.mean()), 1.0, tuple(right.tolist()), 0)


def test_a_candidate_that_is_better_keeps_its_gain() -> None:
    generator = np.random.default_rng(0)
    base = generator.random(400) < 0.4
    better = base | (generator.random(400) < 0.4)
    others = [outcome(number, generator.random(400) < 0.4) for number in range(20)]
    found = selection_corrected(outcome(None, base), [outcome(99, better), *others])
    assert found is not None
    assert (found.n, found.candidates) == (400, 21)
    assert found.corrected == pytest.approx(float(better.mean()), abs=0.01)
    assert found.ci95[0] > 0.1
    assert found == selection_corrected(outcome(None, base), [outcome(99, better), *others])


def test_where_no_row_is_ever_left_there_is_no_estimate() -> None:
    one = np.array([True])
    assert selection_corrected(outcome(None, one), [outcome(1, one)]) is None
