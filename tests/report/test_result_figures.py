"""Accuracies and labels as figures."""

from __future__ import annotations

import dataclasses

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import NO_RESULTS
from cti_edits.report.result_figures import MOST_LABELS, accuracy_figure, answers_figure, given_answers
from cti_edits.search.details import GivenAnswers
from tests.conftest import ROOT
from tests.support.edits import BASE, EDIT_1, entry
from tests.support.reports import HELD_OUT, judged


def test_held_out_rows_come_first_with_control_and_correction_beside() -> None:
    figure = accuracy_figure(judged(load(EDIT_1 / "every_field.json")))
    assert figure is not None
    assert [(rows, model, accuracy) for rows, model, accuracy, _ in figure.rows][:4] == [
        ("held out", "base", "25.5 %"),
        ("held out", "edited", "48.5 %"),
        ("held out", "random edits", "25.0 %, 26.0 %, 24.5 %, 25.5 %, 27.0 %"),
        ("held out", "labels corrected", "46.0 %"),
    ]
    assert [row[3] for row in figure.rows][1:4] == ["41.7 to 55.4 %", "", "39.2 to 52.9 %"]
    assert {row[0] for row in figure.rows[4:]} == {"calibration", "reported"}
    assert "always giving the most frequent answer" in figure.description


def test_rows_that_the_best_were_compared_again_on_come_before_those_that_every_candidate_was() -> None:
    found = judged(load(EDIT_1 / "every_field.json"))
    again = dataclasses.replace(found.results, confirmation=dataclasses.replace(HELD_OUT, n=20, edited=0.5))
    figure = accuracy_figure(dataclasses.replace(found, results=again))
    assert figure is not None
    places = [row[0] for row in figure.rows]
    assert places[4:8] == ["compared again", "compared again", "calibration", "calibration"]
    assert figure.rows[5][2:] == ("50.0 %", "29.9 to 70.1 %")


def test_a_published_edit_has_what_is_reported_and_no_interval() -> None:
    figure = accuracy_figure(load(ROOT / "edits" / "gptj_fever.json"))
    assert figure is not None
    assert [(row[0], row[1], row[3]) for row in figure.rows] == [("reported", "base", ""), ("reported", "edited", "")]
    assert "most frequent" not in figure.description
    assert accuracy_figure(Edit("one", "", BASE, (entry(),), results=NO_RESULTS)) is None


def test_answers_are_shares_of_each_model_s_rows() -> None:
    given = given_answers(HELD_OUT)
    assert given is not None
    figure = answers_figure(given, "held-out")
    assert figure.description.startswith("Share of 200 held-out rows ")
    assert figure.rows == (("moo", "90.0 %", "55.0 %"), ("woof", "10.0 %", "45.0 %"))


def test_counts_that_are_not_there_or_do_not_fit_are_no_answers() -> None:
    assert given_answers(None) is None
    assert given_answers(dataclasses.replace(HELD_OUT, labels=None)) is None
    assert given_answers(dataclasses.replace(HELD_OUT, edited_answers=None)) is None
    assert given_answers(dataclasses.replace(HELD_OUT, edited_answers=(200,))) is None
    assert given_answers(dataclasses.replace(HELD_OUT, baseline_answers=(0, 0))) is None


def test_of_many_labels_the_table_has_all() -> None:
    many = tuple(range(1, MOST_LABELS + 5))
    figure = answers_figure(GivenAnswers(tuple(map(str, many)), many, many), "calibration")
    assert len(figure.rows) == len(many)
