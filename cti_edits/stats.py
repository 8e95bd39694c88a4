"""What an accuracy is worth: its interval, the paired difference, the majority class. Plain numbers in and out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

Z95 = 1.959963984540054

ALPHA = 0.05
"""A p-value has to be below this."""

COLLAPSED_SHARE = 0.95
"""Predictions have collapsed where more than this share of them is one label."""

RESAMPLES = 10_000
"""Of a bootstrap."""


def majority_class(labels: Sequence[Hashable]) -> float:
    """Share of the most frequent label: the accuracy of always giving that answer."""
    return Counter(labels).most_common(1)[0][1] / len(labels)


@dataclass(frozen=True)
class TopAnswer:
    """The answer that a model gives most often.

    Attributes:
        answer: a label, or the number of one.
        share: of all its answers.
    """

    answer: Hashable
    share: float

    @property
    def collapsed(self) -> bool:
        """Whether it is practically the only one."""
        return self.share > COLLAPSED_SHARE


def top_answer(predicted: Sequence[Hashable]) -> TopAnswer:
    """The most frequent of the predictions, the first of equals."""
    answer, count = Counter(predicted).most_common(1)[0]
    return TopAnswer(answer, count / len(predicted))


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


def cluster_interval(
    baseline: Sequence[bool], edited: Sequence[bool], records: Sequence[Hashable], seed: int = 0
) -> tuple[float, float]:
    """95 % interval of accuracy(edited) − accuracy(baseline) where examples that share a record are not independent.

    Records are drawn with replacement, all examples of each together: the percentile bootstrap.

    Args:
        baseline: right or wrong, example by example.
        edited: likewise.
        records: which record each example is of.
        seed: of the bootstrap.
    """
    import numpy as np

    number = {record: index for index, record in enumerate(dict.fromkeys(records))}
    of_example = np.array([number[record] for record in records])
    changes = np.asarray(edited, dtype=float) - np.asarray(baseline, dtype=float)
    sums, sizes = np.bincount(of_example, weights=changes), np.bincount(of_example)
    generator = np.random.default_rng(seed)
    shares = np.full(len(number), 1 / len(number))
    found = []
    for _ in range(RESAMPLES // 100):
        drawn = generator.multinomial(len(number), shares, size=100)
        found.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def difference_interval(
    baseline: Sequence[bool], edited: Sequence[bool], records: Sequence[Hashable] | None = None
) -> tuple[float, float]:
    """`paired_interval`; where examples share records, with the ends of `cluster_interval` where these are farther."""
    low, high = paired_interval(baseline, edited)
    if records is None or len(set(records)) == len(records):
        return low, high
    by_record = cluster_interval(baseline, edited, records)
    return min(low, by_record[0]), max(high, by_record[1])


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


def _same_collapse(baseline: TopAnswer | None, edited: TopAnswer) -> bool:
    """Whether the unedited model gives that one answer, too."""
    return baseline is not None and baseline.collapsed and baseline.answer == edited.answer


Word = Literal["better", "no evidence", "worse", "collapsed"]


@dataclass(frozen=True)
class Verdict:
    """What a measurement of an edit allows one to say.

    Attributes:
        word: in a word or two.
        reason: and why.
    """

    word: Word
    reason: str


def verdict(
    ci95: tuple[float, float],
    p_value: float,
    right: int,
    n: int,
    majority: float,
    baseline_answer: TopAnswer | None = None,
    edited_answer: TopAnswer | None = None,
) -> Verdict:
    """The verdict on an edit. Terminal, card, page and comparison all have it from here.

    Args:
        ci95: interval of the difference of the accuracies, edited minus baseline.
        p_value: McNemar's exact test; corrected, where several edits are compared.
        right: how many examples are right with the edit.
        n: how many examples there are.
        majority: share of the most frequent gold answer.
        baseline_answer: what the unedited model answers most often, where that is known.
        edited_answer: likewise with the edit.
    """
    if edited_answer is not None and edited_answer.collapsed and not _same_collapse(baseline_answer, edited_answer):
        return Verdict("collapsed", f"{100 * edited_answer.share:.1f} % of its answers are one and the same")
    if ci95[0] <= 0 <= ci95[1]:
        return Verdict("no evidence", "the interval holds zero")
    if p_value >= ALPHA:
        return Verdict("no evidence", f"p is not below {ALPHA:g}")
    if ci95[1] < 0:
        return Verdict("worse", "the interval is below zero")
    low, high = wilson_interval(right, n)
    if low <= majority <= high:
        return Verdict("collapsed", "it is no better than always giving the most frequent answer")
    return Verdict("better", "the interval is above zero")
