from __future__ import annotations

import dataclasses

from cti_edits.artifact.manifest import load
from cti_edits.artifact.records import Measurement, Results
from cti_edits.report.measurements import guard_lines, held_out_lines, measurement_lines, result_lines
from tests.support.edits import EDIT_1

MEASURED = Measurement(
    n=1000,
    baseline=0.4,
    edited=0.55,
    majority_class=0.3,
    ci95=(0.1, 0.2),
    p_value=1e-9,
    records=700,
    labels=("true", "fal\x1bse"),
    baseline_answers=(500, 500),
    edited_answers=(400, 600),
)


def test_a_difference_without_interval_is_shown_without() -> None:
    measured = Measurement(n=10, baseline=0.5, edited=0.6, majority_class=0.5)
    lines = dict(measurement_lines("test", measured, judged=True))
    assert lines["  difference"] == "+10.0 points"
    assert list(lines) == ["test: 10 examples; intervals are of 95 %", "  base model", "  edited", "  majority",
                           "  difference"]  # fmt: skip


def test_the_verdict_comes_first_and_answers_last() -> None:
    lines = list(measurement_lines("test part", MEASURED, judged=True))
    assert lines[1] == ("  verdict", "better: the interval is above zero")
    assert dict(lines)["  difference"] == (
        "+15.0 points (+10.0 to +20.0), exact McNemar p = 1e-09; the rows are of 700 records"
    )
    assert lines[-2:] == [
        ("  base says", "50.0 % true, 50.0 % fal\\x1bse"),
        ("  edited says", "40.0 % true, 60.0 % fal\\x1bse"),
    ]
    one_answer = dataclasses.replace(MEASURED, edited_answers=(20, 980))
    assert dict(measurement_lines("test part", one_answer, judged=True))["  verdict"] == (
        "collapsed: 98.0 % of its answers are one and the same"
    )


def test_what_stands_beside_the_edit() -> None:
    results = load(EDIT_1 / "asked.json").results
    lines = dict(held_out_lines(results))
    assert lines["  control"] == (
        "2 random edits of the same size: 50.0 to 52.0 %, on average 51.0 %; the edit is above 2 of them"
    )
    assert lines["  label bias"] == (
        "55.0 % without an edit, by adding a number to the likelihood of each label; the edit minus this "
        "+1.0 to +3.0 points; the edit does more"
    )
    assert dict(guard_lines(results))["other text"] == (
        "KL 0.0100 nats a token, perplexity 21.50 without and 21.70 with the edit (2,000 tokens, bundled)"
    )
    assert results.label_bias is not None
    as_well = dataclasses.replace(results, label_bias=dataclasses.replace(results.label_bias, ci95=(-0.01, 0.03)))
    assert str(dict(held_out_lines(as_well))["  label bias"]).endswith("use that: the edit is not shown to do more")


def test_the_figure_of_the_calibration_rows_never_stands_alone() -> None:
    calibration = Measurement(n=100, baseline=0.4, edited=0.6, majority_class=0.3)
    lines = list(result_lines(Results(calibration, None)))
    assert ("  mind", "these rows chose the edit, and their figures flatter it") in lines
    assert ("  test", "not measured on rows that the search did not see") in lines
    headings = [str(key) for key, _ in result_lines(Results(calibration, MEASURED)) if "examples" in key]
    assert headings == [
        "test part: 1000 examples; intervals are of 95 %",
        "calibration: 100 examples; intervals are of 95 %",
    ]
    assert not any(key == "  verdict" for key, _ in lines)


def test_the_parts_in_the_order_of_what_they_are_worth() -> None:
    results = load(EDIT_1 / "asked.json").results
    assert None not in (results.test, results.confirmation, results.guard, results.calibration)
    lines = list(result_lines(results))
    keys = [str(key).partition(":")[0] for key, _ in lines if not str(key).startswith("  ")]
    assert keys == ["", "test part", "", "other text", "", "confirmation", "", "calibration"]
    assert [value for key, value in lines if key == "  verdict"] == [lines[2][1]]
    assert [str(value).partition(",")[0] for key, value in lines if key == "  mind"] == [
        "these rows chose the edit among the best few candidates",
        "these rows chose the edit",
    ]
