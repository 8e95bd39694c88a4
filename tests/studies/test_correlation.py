"""Correlations, against numpy."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.studies import correlation
from cti_edits.studies.correlation import pearson, spearman


def ranks(values: list[float]) -> list[float]:
    """Each value's, equal ones with the mean of theirs: the count of those below it and half of those like it."""
    return [sum(other < one for other in values) + sum(other == one for other in values) / 2 for one in values]


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=20))
def test_both_are_numpy_s_and_ties_share_their_ranks(pairs: list[tuple[int, int]]) -> None:
    one, other = ([float(value) for value in side] for side in zip(*pairs, strict=True))
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert pearson(one, other) is spearman(one, other) is None
    else:
        assert pearson(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-9)
        assert spearman(one, other) == pytest.approx(np.corrcoef(ranks(one), ranks(other))[0, 1], abs=1e-9)


def test_there_is_none_of_a_single_value() -> None:
    assert pearson([1.0], [2.0]) is spearman([], []) is None
    assert doctest.testmod(correlation).failed == 0
