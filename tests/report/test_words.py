from __future__ import annotations

import pytest

from cti_edits.report.words import interval, p_value, percent, points, points_interval


def test_shares_are_in_per_cent_and_differences_in_points_with_a_true_minus() -> None:
    assert percent(0.2567) == "25.7 %"
    assert points(0.0944) == "+9.4 points"
    assert points(-0.0944) == "−9.4 points"
    assert interval(0.193, 1) == "19.3 to 100.0 %"
    assert points_interval(-0.012, 0.13) == "−1.2 to +13.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0341, "0.034"),
        (1.0, "1"),
        (0.00012, "0.00012"),
        (1.24e-10, "1.2 × 10⁻¹⁰"),
        (9.9e-300, "9.9 × 10⁻³⁰⁰"),
        (0, "0"),
    ],
)
def test_a_p_value_has_two_digits(value: float, text: str) -> None:
    assert p_value(value) == text
