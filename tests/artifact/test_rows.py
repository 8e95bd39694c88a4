"""Rows of a fused weight: their numbers, what is wrong with them, and whether two meet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.rows import Rows


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    start, size, count = draw(st.integers(0, 12)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return Rows.repeated(start, start + size, size + draw(st.integers(0, 6)), count)


@given(rows())
def test_every_row_is_counted_once_and_ascends(one: Rows) -> None:
    numbers = list(one)
    assert numbers == sorted(set(numbers))
    assert (len(one), one.end) == (len(numbers), numbers[-1] + 1)
    assert not list(one.faults(len(numbers)))
    assert Rows.from_json(one.to_json()) == one


@given(rows(), rows())
def test_two_meet_where_they_have_a_row_in_common(one: Rows, other: Rows) -> None:
    assert one.meets(other) == other.meets(one) == bool(set(one) & set(other))


def test_runs_without_a_gap_are_one() -> None:
    assert Rows.repeated(2, 4, step=2, count=3) == Rows(2, 8)
    assert Rows(2, 8).to_json() == {"start": 2, "stop": 8}
    assert str(Rows(0, 64, 192, 12)) == "rows 0 to 63 of every 192, 12 times"


def test_what_is_wrong() -> None:
    for one, message in (
        (Rows(4, 4), "stop: expected more than 4 (start), got 4"),
        (Rows(0, 4, 8, 1), "step and count: expected both, where the rows are in several runs, or neither"),
        (Rows(0, 4, 0, 2), "step and count: expected both, where the rows are in several runs, or neither"),
        (Rows(0, 4, 4, 2), "step: expected more than 4 (stop - start), got 4"),
        (Rows(0, 4, 8, 2), "expected 9 rows (shape), got 8"),
    ):
        assert list(one.faults(9)) == [message]
