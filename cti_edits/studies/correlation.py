"""Pearson's and Spearman's correlation."""

from __future__ import annotations

from collections.abc import Sequence


def pearson(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Pearson's r; None where there is none: fewer than two values, or all of a side equal."""
    from scipy.stats import pearsonr

    return float(pearsonr(one, other).statistic) if _vary(one, other) else None


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's ρ, Pearson's r of the ranks; equal values share the mean of their ranks. None as in `pearson`."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic) if _vary(one, other) else None


def shown(correlation: float | None) -> str:
    """With its sign, for a table.

    >>> shown(0.25), shown(None)
    ('+0.250', 'none')
    """
    return "none" if correlation is None else f"{correlation:+.3f}"


def _vary(*sides: Sequence[float]) -> bool:
    return all(len(set(side)) > 1 for side in sides)
