from __future__ import annotations

from math import comb
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from cti_edits.stats import (
    TopAnswer,
    cluster_interval,
    difference_interval,
    holm,
    majority_class,
    mcnemar_p_value,
    paired_interval,
    top_answer,
    verdict,
    wilson_interval,
)

counts = st.integers(0, 40)


def pairs(both: int, edited_only: int, baseline_only: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Baseline and edited outcomes with the given counts."""
    baseline = [True] * both + [False] * edited_only + [True] * baseline_only + [False] * neither
    edited = [True] * both + [True] * edited_only + [False] * baseline_only + [False] * neither
    return baseline, edited


@given(n=st.integers(1, 5000), data=st.data())
def test_wilson_interval_is_scipys(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n) | st.sampled_from([0, n]))
    expected = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(right, n)
    assert [low, high] == pytest.approx([expected.low, expected.high], abs=1e-12)
    assert 0.0 <= low <= right / n <= high <= 1.0


def test_majority_class_is_the_share_of_the_most_frequent() -> None:
    assert majority_class(["yes", "no", "yes", "maybe"]) == 0.5
    assert majority_class([1]) == 1.0
    assert majority_class([0, 1, 2, 3]) == 0.25


@given(counts, counts, counts, counts)
def test_mcnemar_is_an_exact_sum_of_binomials(both: int, more: int, less: int, neither: int) -> None:
    baseline, edited = pairs(both, more, less, neither)
    changed = more + less
    # Twice the smaller tail of a fair coin, in whole numbers.
    tail = sum(comb(changed, k) for k in range(min(more, less) + 1))
    expected = min(1.0, 2 * tail / 2**changed)
    assert mcnemar_p_value(baseline, edited) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p_value(edited, baseline) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_where_nothing_changed() -> None:
    assert mcnemar_p_value([True, False], [True, False]) == 1.0
    assert mcnemar_p_value([], []) == 1.0


def test_mcnemar_by_hand() -> None:
    # Five rows won and none lost: 2 / 2^5.
    assert mcnemar_p_value(*pairs(3, 5, 0, 2)) == pytest.approx(0.0625)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, chapter 8 (Newcombe's
        # square-and-add interval): Cavo et al. 2012 and Bentur et al. 2009.
        ((59, 6, 16, 80), -0.1186, -0.0046),
        ((1, 1, 7, 12), -0.5069, -0.0256),
    ],
)
def test_paired_interval_of_published_tables(table: tuple[int, int, int, int], low: float, high: float) -> None:
    assert list(paired_interval(*pairs(*table))) == pytest.approx([low, high], abs=5e-5)


@given(counts, counts, counts, counts)
def test_paired_interval_holds_the_difference_and_turns_with_its_sides(
    both: int, more: int, less: int, neither: int
) -> None:
    n = both + more + less + neither
    if n == 0:
        both = n = 1
    baseline, edited = pairs(both, more, less, neither)
    low, high = paired_interval(baseline, edited)
    assert -1.0 <= low <= (more - less) / n + 1e-12
    assert (more - less) / n - 1e-12 <= high <= 1.0
    assert list(paired_interval(edited, baseline)) == pytest.approx([-high, -low], abs=1e-12)
    # Right and wrong turned about: the difference changes its sign.
    turned = paired_interval([not right for right in baseline], [not right for right in edited])
    assert list(turned) == pytest.approx([-high, -low], abs=1e-9)


@given(st.tuples(counts, counts, counts, counts).filter(lambda table: table[1] + table[2] > 0))
def test_more_data_of_the_same_kind_narrow_the_interval(table: tuple[int, int, int, int]) -> None:
    low, high = paired_interval(*pairs(*table))
    both, more, less, neither = (4 * count for count in table)
    narrow_low, narrow_high = paired_interval(*pairs(both, more, less, neither))
    assert narrow_high - narrow_low < high - low


def test_negative_association_is_not_corrected_for_continuity() -> None:
    both, more, less, neither = table = (10, 40, 30, 20)
    wilson = [binomtest(right, 100).proportion_ci(method="wilson") for right in (both + more, both + less)]
    phi = (both * neither - more * less) / (50 * 50 * 40 * 60) ** 0.5
    below, above = 0.5 - wilson[0].low, wilson[1].high - 0.4
    low = 0.1 - (below**2 - 2 * phi * below * above + above**2) ** 0.5
    above, below = wilson[0].high - 0.5, 0.4 - wilson[1].low
    high = 0.1 + (above**2 - 2 * phi * above * below + below**2) ** 0.5
    assert list(paired_interval(*pairs(*table))) == pytest.approx([low, high], abs=1e-12)


def test_agreement_narrows_the_interval() -> None:
    """The same two accuracies: rows that are right together tell more than rows that are not."""
    agreeing = paired_interval(*pairs(45, 15, 5, 35))
    opposed = paired_interval(*pairs(20, 40, 30, 10))
    assert agreeing[1] - agreeing[0] < opposed[1] - opposed[0]


@pytest.mark.parametrize("table", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (9, 0, 0, 0), (0, 9, 0, 0)])
def test_paired_interval_of_one_kind_of_row_alone(table: tuple[int, int, int, int]) -> None:
    low, high = paired_interval(*pairs(*table))
    difference = (table[1] - table[2]) / sum(table)
    assert -1.0 <= low <= difference <= high <= 1.0
    assert low < high


def test_rows_must_be_paired() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_interval([True, False], [True])
    with pytest.raises(ValueError, match="shorter"):
        mcnemar_p_value([True, False], [True])


def test_top_answer() -> None:
    assert top_answer([3] * 96 + [1] * 4) == TopAnswer(3, 0.96)
    assert top_answer([3] * 96 + [1] * 4).collapsed
    assert not top_answer([3] * 95 + [1] * 5).collapsed
    assert top_answer([2, 0]) == TopAnswer(2, 0.5)


@pytest.mark.parametrize("table", [(59, 6, 16, 80), (1, 1, 7, 12), (30, 9, 2, 40), (5, 0, 4, 3)])
def test_paired_figures_are_those_of_statsmodels(table: tuple[int, int, int, int]) -> None:
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.proportion import proportion_confint

    both, more, less, neither = table
    n = sum(table)
    found = mcnemar([[both, less], [more, neither]], exact=True).pvalue
    assert mcnemar_p_value(*pairs(*table)) == pytest.approx(found, rel=1e-9)
    assert list(wilson_interval(both + more, n)) == pytest.approx(
        list(proportion_confint(both + more, n, method="wilson")), abs=1e-12
    )


def unequal_records() -> tuple[list[bool], list[bool], list[int]]:
    """60 records of one to six examples, which change together."""
    generator = Random(3)
    baseline, edited, records = [], [], []
    for record in range(60):
        before, after = generator.random() < 0.4, generator.random() < 0.6
        for _ in range(generator.randint(1, 6)):
            baseline.append(before if generator.random() < 0.9 else not before)
            edited.append(after if generator.random() < 0.9 else not after)
            records.append(record)
    return baseline, edited, records


def test_interval_of_records_is_scipys_bootstrap() -> None:
    baseline, edited, records = unequal_records()
    changes = np.array(edited, dtype=float) - np.array(baseline, dtype=float)
    sums, sizes = np.bincount(records, weights=changes), np.bincount(records)
    expected = bootstrap(
        (sums, sizes),
        lambda s, m, axis: s.sum(axis) / m.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert list(cluster_interval(baseline, edited, records)) == pytest.approx([expected.low, expected.high], abs=0.01)


def test_interval_of_records_is_about_statsmodels_cluster_robust_one() -> None:
    import statsmodels.api as sm

    baseline, edited, records = unequal_records()
    changes = np.array(edited, dtype=float) - np.array(baseline, dtype=float)
    fitted = sm.OLS(changes, np.ones(len(changes))).fit(cov_type="cluster", cov_kwds={"groups": np.array(records)})
    assert list(cluster_interval(baseline, edited, records)) == pytest.approx(list(fitted.conf_int()[0]), abs=0.02)


def test_examples_that_share_records_have_a_wider_interval() -> None:
    baseline, edited, records = unequal_records()
    alone = paired_interval(baseline, edited)
    assert difference_interval(baseline, edited) == alone
    assert difference_interval(baseline, edited, list(range(len(baseline)))) == alone
    low, high = difference_interval(baseline, edited, records)
    assert low < alone[0] < alone[1] < high


def test_records_never_narrow_an_interval() -> None:
    # Four examples won and none lost: the bootstrap alone would leave zero out, where McNemar's p is 0.125.
    baseline, edited = pairs(20, 4, 0, 20)
    records = [number // 2 for number in range(44)]
    assert difference_interval(baseline, edited, records)[0] <= paired_interval(baseline, edited)[0]


def word(table: tuple[int, int, int, int], majority: float = 0.1, **answers: TopAnswer) -> str:
    baseline, edited = pairs(*table)
    return verdict(
        paired_interval(baseline, edited), mcnemar_p_value(baseline, edited), sum(edited), len(edited), majority,
        **answers,
    ).word  # fmt: skip


def test_verdicts() -> None:
    assert word((40, 20, 2, 38)) == "better"
    assert word((40, 2, 20, 38)) == "worse"
    assert word((40, 5, 4, 51)) == "no evidence"
    assert word((40, 0, 0, 60)) == "no evidence"
    # Newcombe's interval leaves zero out, and McNemar's exact test does not.
    assert paired_interval(*pairs(500, 5, 0, 495))[0] > 0
    assert word((500, 5, 0, 495)) == "no evidence"


def test_a_gain_up_to_the_rate_of_the_most_frequent_answer_is_none() -> None:
    assert word((40, 20, 2, 38), majority=0.62) == "collapsed"
    assert word((40, 20, 2, 38), majority=0.4) == "better"
    # A loss or no difference at all is not a gain of that kind.
    assert word((40, 2, 20, 38), majority=0.42) == "worse"
    assert word((40, 5, 4, 51), majority=0.45) == "no evidence"


def test_an_edit_that_makes_one_answer_of_all_has_collapsed() -> None:
    one, other, spread = TopAnswer(0, 0.96), TopAnswer(1, 0.99), TopAnswer(0, 0.6)
    for table in ((40, 20, 2, 38), (40, 2, 20, 38), (40, 5, 4, 51)):
        assert word(table, baseline_answer=spread, edited_answer=one) == "collapsed"
        assert word(table, baseline_answer=other, edited_answer=one) == "collapsed"
        assert word(table, edited_answer=one) == "collapsed"
    # The unedited model did so too: the edit is not to blame.
    assert word((40, 5, 4, 51), baseline_answer=one, edited_answer=one) == "no evidence"
    assert word((40, 20, 2, 38), baseline_answer=one, edited_answer=spread) == "better"


# statsmodels 0.15.0: multipletests(p, method="holm")[1].
@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([0.04, 0.04, 0.001], [0.08, 0.08, 0.003]),
    ],
)
def test_holms_correction(p_values: list[float], corrected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(corrected)
