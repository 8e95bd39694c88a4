"""The paper's split of a data set."""

from __future__ import annotations

import pytest

from cti_edits.harness.splits import validation_count


@pytest.mark.parametrize(("rows", "cut"), [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (13086, 2617), (65757, 13151)])
def test_the_validation_part_is_the_first_fifth_rounded_down(rows: int, cut: int) -> None:
    assert validation_count(rows) == cut
