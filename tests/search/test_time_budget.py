from __future__ import annotations

import time

import pytest

from cti_edits.errors import EditError
from cti_edits.search.time_budget import TimeBudget, seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("0.5", 0.5)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0", "0.0h", "-1m", "1d", "1 m", "nan", "1e3", "9999999h", "١m", "1m\n"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(EditError, match=r"^time_budget: expected a time such as 90s, 10m or 1\.5h, got "):
        seconds_of(text)


def test_it_is_cut_once_somebody_was_told_that_it_is_over() -> None:
    budget = TimeBudget(0.02)
    assert not budget.over()
    assert not budget.cut
    time.sleep(0.03)
    assert not budget.cut
    assert budget.over()
    assert budget.cut
    endless = TimeBudget()
    assert not endless.over()
