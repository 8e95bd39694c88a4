from __future__ import annotations

import pytest

from studies.null_searches import NullSettings, null_searches, summary


def test_a_search_among_edits_that_are_no_better_seldom_finds_one() -> None:
    """The whole procedure: choice, held-out rows, verdict. Without them, the figure is off by more than ten points."""
    found = null_searches(NullSettings(searches=300, corrected=False), seed=1)
    assert sum(one.word == "better" for one in found) <= 0.05 * len(found)
    gain = sum(one.calibration_gain for one in found) / len(found)
    assert gain == pytest.approx(0.11, abs=0.02)
    assert summary(found)[0].startswith("better: ")


def test_fresh_rows_leave_the_bias_of_the_best_of_a_few() -> None:
    found = null_searches(NullSettings(searches=300, corrected=False, confirm=3), seed=3)
    assert sum(one.word == "better" for one in found) <= 0.05 * len(found)
    gain = sum(one.confirmation_gain or 0.0 for one in found) / len(found)
    assert 0.01 < gain < 0.06
    assert summary(found)[-1].startswith("that of the fresh rows by +")


def test_bbc_cv_takes_off_what_choosing_adds() -> None:
    found = null_searches(NullSettings(searches=12), seed=2)
    raw = sum(one.calibration_gain for one in found) / len(found)
    corrected = sum(one.corrected_gain or 0.0 for one in found) / len(found)
    assert raw > 0.09
    assert abs(corrected) < 0.03
    assert summary(found)[-1].startswith("that of BBC-CV by ")
