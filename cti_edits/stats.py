"""What an accuracy is worth: its interval, the paired difference, the majority class. Plain numbers in and out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

Z95 = 1.959963984540054


def majority_class(labels: Sequence[Hashable]) -> float:
    """Share of the most frequent label: the accuracy of always giving that answer."""
    return Counter(labels).most_common(1)[0][1] / len(labels)


def collapsed(predicted: Sequence[int], share: float = 0.99) -> int | None:
    """The label that at least ``share`` of the predictions are: one answer to everything. None if there is none."""
    label, count = Counter(predicted).most_common(1)[0]
    return label if count >= share * len(predicted) else None


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, ``right`` of ``n`` (Wilson 1927, without continuity correction)."""
    p = right / n
    centre = p + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    # The share itself lies inside; at 0 and 1 it is the end, which rounding would miss.
    return max(0.0, min(p, (centre - half) / scale)), min(1.0, max(p, (centre + half) / scale))


def paired_interval(baseline: Sequence[bool], edited: Sequence[bool]) -> tuple[float, float]:
    """95 % interval of accuracy(edited) − accuracy(baseline) on the same examples (Newcombe 1998, method 10)."""
    n = len(baseline)
    both, edited_only, baseline_only, neither = _paired_counts(baseline, edited)
    p_edited, p_baseline = (both + edited_only) / n, (both + baseline_only) / n
    difference = p_edited - p_baseline
    low_e, high_e = wilson_interval(both + edited_only, n)
    low_b, high_b = wilson_interval(both + baseline_only, n)
    margins = (both + edited_only) * (baseline_only + neither) * (both + baseline_only) * (edited_only + neither)
    phi = 0.0
    if margins:
        product = both * neither - edited_only * baseline_only
        # Newcombe's continuity correction, for positive association only.
        phi = (max(product - n / 2, 0) if product > 0 else product) / math.sqrt(margins)
    below, above_b = p_edited - low_e, high_b - p_baseline
    above, below_b = high_e - p_edited, p_baseline - low_b
    low = difference - math.sqrt(max(0.0, below**2 - 2 * phi * below * above_b + above_b**2))
    high = difference + math.sqrt(max(0.0, above**2 - 2 * phi * above * below_b + below_b**2))
    return max(-1.0, low), min(1.0, high)


def mcnemar_p_value(baseline: Sequence[bool], edited: Sequence[bool]) -> float:
    """Two-sided p-value of McNemar's exact test on the same examples; 1.0 where no example changed."""
    _, edited_only, baseline_only, _ = _paired_counts(baseline, edited)
    if edited_only + baseline_only == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(edited_only, edited_only + baseline_only, 0.5).pvalue)


def _paired_counts(baseline: Sequence[bool], edited: Sequence[bool]) -> tuple[int, int, int, int]:
    counts = Counter(zip(map(bool, baseline), map(bool, edited), strict=True))
    return counts[True, True], counts[False, True], counts[True, False], counts[False, False]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for their number (Holm 1979), in the order given; at most 1."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
