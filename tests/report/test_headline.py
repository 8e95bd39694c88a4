"""The verdict of a page, of manifests that measured more or less."""

from __future__ import annotations

import dataclasses

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import NO_RESULTS, LabelBias, Measurement, Results, SelectionCorrected
from cti_edits.report.headline import headline
from tests.conftest import ROOT
from tests.support.edits import BASE, SEARCH, entry

TEST = Measurement(1000, 0.4, 0.55, 0.3, ci95=(0.1, 0.2), p_value=1e-9)
CALIBRATION = Measurement(100, 0.4, 0.7, 0.3)


def edit(results: Results = NO_RESULTS, **changes: object) -> Edit:
    return dataclasses.replace(Edit("one", "", BASE, (entry(),), results=results), **changes)  # type: ignore[arg-type]


def test_held_out_rows_come_first_and_calibration_says_what_it_is() -> None:
    found = headline(edit(Results(CALIBRATION, TEST)))
    assert (found.word, found.title) == ("better", "Better: 40.0 % → 55.0 % on 1,000 held-out rows")
    held_out, calibration = found.sentences
    assert held_out == (
        "On 1,000 rows that the search did not see, accuracy goes from 40.0 % to 55.0 %, +15.0 points (95 % interval "
        "+10.0 to +20.0), exact McNemar p = 1.0 × 10⁻⁹: the interval is above zero."
    )
    assert calibration == (
        "On the 100 rows that chose the edit, accuracy goes from 40.0 % to 70.0 %, +30.0 points. The best of many on "
        "the rows that chose it looks better than it is."
    )


def test_fresh_rows_that_chose_say_so() -> None:
    again = Measurement(50, 0.4, 0.5, 0.3, ci95=(-0.05, 0.25), p_value=0.2)
    assert headline(edit(Results(CALIBRATION, TEST, confirmation=again))).sentences[1] == (
        "On 50 fresh rows that chose among the best few, accuracy goes from 40.0 % to 50.0 %, +10.0 points (95 % "
        "interval −5.0 to +25.0), exact McNemar p = 0.2."
    )


def test_other_verdicts_are_those_of_the_measurement() -> None:
    none = headline(edit(Results(None, dataclasses.replace(TEST, ci95=(-0.01, 0.2), p_value=0.07))))
    assert none.word == "no evidence"
    assert none.title.startswith("No evidence of a difference: 40.0 %")
    worse = headline(edit(Results(None, dataclasses.replace(TEST, edited=0.3, ci95=(-0.2, -0.01), p_value=0.01))))
    assert (worse.word, worse.title[:6]) == ("worse", "Worse:")
    answers = dataclasses.replace(TEST, labels=("a", "b"), baseline_answers=(500, 500), edited_answers=(980, 20))
    one = headline(edit(Results(None, answers)))
    assert one.word == "collapsed"
    assert one.sentences[0].endswith(": 98.0 % of its answers are one and the same.")


def test_a_correction_that_does_as_well_is_what_to_use() -> None:
    as_well = LabelBias((0.0, 0.5), 1000, 0.54, (-0.01, 0.03), 0.4)
    found = headline(edit(Results(None, TEST, label_bias=as_well)))
    assert found.sentences[1].startswith("Rather than the edit, correct the labels: 54.0 % without an edit")
    assert "use that" in found.sentences[1]
    less = dataclasses.replace(as_well, corrected=0.45, ci95=(0.05, 0.15))
    assert len(headline(edit(Results(None, TEST, label_bias=less))).sentences) == 1


def test_without_held_out_rows_nothing_is_claimed() -> None:
    found = headline(edit(Results(CALIBRATION, None, bbc_cv=SelectionCorrected(100, 12, 0.5, (-0.05, 0.2)))))
    assert found.word == "not measured"
    assert found.title == "Not measured on rows that the search did not see"
    assert found.sentences[-1] == (
        "By BBC-CV, 50.0 % without what choosing one of 12 adds, -5.0 to +20.0 points beside the base model."
    )
    unpaired = headline(edit(Results(None, Measurement(10, 0.5, 0.6, 0.5))))
    assert (unpaired.word, unpaired.title) == (
        "not measured",
        "50.0 % → 60.0 % on 10 held-out rows, not compared row by row",
    )


def test_an_empty_edit_and_a_published_one() -> None:
    empty = headline(edit(Results(CALIBRATION, TEST), edits=()))
    assert (empty.word, empty.title) == ("no edit", "No edit was found")
    assert empty.sentences[0] == "The edit is empty: nothing that was tried beat the base model."
    published = headline(load(ROOT / "edits" / "gptj_fever.json"))
    assert published.word == "not measured"
    assert published.sentences[0].startswith("Reported by ")


def test_a_search_that_was_cut_short_says_so() -> None:
    said = "The search was cut short after 600 s: there were more candidates, which might have won."
    cut = dataclasses.replace(SEARCH, time_budget=600.0)
    assert said in headline(edit(Results(CALIBRATION, TEST), search=cut)).sentences
    assert said not in headline(edit(Results(CALIBRATION, TEST), search=SEARCH)).sentences
