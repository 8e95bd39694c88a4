"""Figures as a page writes them."""

from __future__ import annotations

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Digits of an exponent."""


def percent(share: float) -> str:
    """0.357 as "35.7 %"."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """0.094 as "+9.4 points", with a true minus."""
    return f"{100 * difference:+.1f} points".replace("-", "−")


def interval(low: float, high: float) -> str:
    """Ends of an interval of shares, in per cent."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def points_interval(low: float, high: float) -> str:
    """Ends of an interval of differences, in points."""
    return f"{100 * low:+.1f} to {100 * high:+.1f}".replace("-", "−")


def p_value(value: float) -> str:
    """Two significant digits, and no exponent where few zeros do."""
    if value < 1e-4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(RAISED)}" if value else "0"
    return f"{value:.2g}"
