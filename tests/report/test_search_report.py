"""What ``cti-edits search`` prints at its end."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.artifact.records import DatasetRecord, Guard, Measurement, Results
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.metrics import Metric
from cti_edits.harness.prompting import Prompting
from cti_edits.report.search_report import print_report
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.composition import CompositionStep
from cti_edits.search.evaluate import EvaluatedCandidates
from cti_edits.search.outcome import Outcome, winner
from cti_edits.search.runner import SearchResult

EMPTY = Path(__file__).parents[1] / "data" / "edit-1" / "empty.json"
N = 8


def outcome(right: int, nll: float, candidate: RankCut | None) -> Outcome:
    correct = tuple(index < right for index in range(N))
    return Outcome(candidate, right / N, nll, correct, added_parameters=0)


def candidate(layer: int, rho: float = 0.005) -> RankCut:
    return RankCut(MatrixId(layer, "U_out"), 16, rho)


def report(
    unedited: Outcome,
    outcomes: list[Outcome],
    capsys: pytest.CaptureFixture[str],
    gold: tuple[int, ...] = (),
    labels: tuple[str, ...] | None = None,
    failed: tuple[RankCut, ...] = (),
    steps: tuple[CompositionStep, ...] = (),
    again: EvaluatedCandidates | None = None,
    results: Results | None = None,
) -> list[str]:
    best, edit = winner([unedited, *outcomes]), load(str(EMPTY))
    if again is not None:
        (best,) = [one for one in (unedited, *outcomes) if one.candidate == again.best.candidate]
    edit = dataclasses.replace(edit, results=results or edit.results)
    result = SearchResult(unedited, tuple(outcomes), (), best, edit, failed, steps, again=again)
    task: Any = None  # of which the report says nothing
    calibration = CalibrationSet(
        task,
        "[red]cti\x07",
        DatasetRecord(id=None, revision=None, split=None),
        tuple(range(N)),
        (),
        gold,
        0.625,
        labels=labels,
        own_validation=False,
        prompting=Prompting(),
        metric=Metric(),
        row_hashes=(),
        prompt_hashes=(),
    )
    capsys.readouterr()
    print_report(result, calibration, Path("a folder") / "edit.json")
    return capsys.readouterr().out.splitlines()


@pytest.fixture(params=["pipe", "narrow terminal"], autouse=True)
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    if request.param != "pipe":
        monkeypatch.setenv("FORCE_COLOR", "1")


def test_every_figure_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    tried = [outcome(right, 1 + right / 100, candidate(right + 5)) for right in (1, 7, 3, 2, 6, 5)]
    lines = report(outcome(4, 12.34567, None), tried, capsys)
    assert lines[0] == "[red]cti\\x07: 8 calibration examples"
    assert lines[1:9] == [
        "matrix    layer   K      ρ  accuracy   95 % interval  NLL of gold answer",
        "unedited                      50.0 %  21.5 to 78.5 %             12.3457",
        "U_out        12  16  0.005    87.5 %  52.9 to 97.8 %              1.0700  *",
        "U_out        11  16  0.005    75.0 %  40.9 to 92.9 %              1.0600",
        "U_out        10  16  0.005    62.5 %  30.6 to 86.3 %              1.0500",
        "U_out         8  16  0.005    37.5 %  13.7 to 69.4 %              1.0300",
        "U_out         7  16  0.005    25.0 %   7.1 to 59.1 %              1.0200",
        "* the best of all that were tried",
    ]
    assert lines[9].startswith("6 candidates tried. Always giving the most frequent answer: 62.5 %. The best of many")
    assert lines[-2].endswith("Leave them out when you measure the edit.")
    assert lines[-1] == "wrote a folder/edit.json"
    assert not re.search("[\x1b\u2500-\u257f]", "".join(lines))


def test_the_unedited_model_is_marked_if_nothing_beat_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = report(outcome(4, 1.0, None), [outcome(4, 1.0, candidate(1))], capsys)
    assert [line.split()[0] for line in lines if line.endswith("  *")] == ["unedited"]
    assert "No candidate beat the unedited model: the edit is empty." in lines


@pytest.mark.parametrize("labels", [None, (" true", " false")])
def test_an_edit_that_gets_no_more_right_is_called_that(
    capsys: pytest.CaptureFixture[str], labels: tuple[str, ...] | None
) -> None:
    said = "The accuracy is that of the unedited model: gold answers became likelier, and no more of them are given."
    for likelier, right, there in ((0.5, 4, True), (0.5, 5, False)):
        lines = report(outcome(4, 1.0, None), [outcome(right, likelier, candidate(1))], capsys, labels=labels)
        (found,) = [line for line in lines if line.startswith(said)] or [""]
        assert bool(found) is there
        assert ("how often each label is right" in found) is (there and labels is not None)


def test_what_rows_say_that_did_not_choose_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Measurement(n=9, baseline=0.5, edited=0.75, majority_class=0.5, ci95=(-0.1, 0.5), p_value=0.5)
    results = Results(None, figures, guard=Guard("bundled", 2000, 0.01, 21.5, 21.75))
    lines = report(outcome(4, 2.0, None), [outcome(5, 1.0, candidate(3))], capsys, results=results)
    assert lines[:2] == [
        "test part: 9 examples; intervals are of 95 %",
        "  verdict      no evidence: the interval holds zero",
    ]
    other, calibration = (
        next(n for n, one in enumerate(lines) if word in one) for word in ("other text", "calibration")
    )
    assert 1 < other < calibration
    assert "perplexity 21.50 without and 21.75 with the edit" in lines[other]


def test_candidates_that_were_compared_again_are_listed_with_what_fresh_rows_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried = [outcome(right, 1.0, candidate(right)) for right in (3, 5, 6, 7)]
    fresh = [outcome(2, 1.0, candidate(7)), outcome(6, 1.0, candidate(5))]
    again = EvaluatedCandidates(outcome(4, 1.0, None), tuple(fresh), (), fresh[1], None)
    figures = Measurement(n=N, baseline=0.5, edited=0.75, majority_class=0.5, ci95=(-0.1, 0.5), p_value=0.5)
    lines = report(outcome(1, 2.0, None), tried, capsys, again=again, results=Results(None, None, confirmation=figures))
    assert lines[0] == "confirmation: 8 examples; intervals are of 95 %"
    start = lines.index("[red]cti\\x07: 8 calibration examples") + 1
    assert [line.split()[-3:] for line in lines[start + 1 : start + 4]] == [
        ["2.0000", "50.0", "%"],
        ["1.0000", "25.0", "%"],
        ["75.0", "%", "*"],
    ]
    assert lines[start].endswith("NLL of gold answer  on fresh rows")
    assert lines[start + 4] == "* chosen among these by 8 fresh rows"


def test_predictions_that_collapsed_onto_one_label_are_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    gold = (0, 0, 1, 1, 1, 1, 1, 1)
    mixed = dataclasses.replace(outcome(4, 1.0, None), predicted=(0, 1, 1, 1, 0, 0, 1, 0))
    one = dataclasses.replace(outcome(6, 1.0, candidate(1)), predicted=(1,) * 8)
    lines = report(mixed, [one], capsys, gold, (" true", " fal\x1bse"))
    assert lines[5].startswith("1 candidate tried. ")
    assert lines[6] == "the unedited model predicts 50.0 % true, 50.0 % fal\\x1bse; balanced accuracy 50.0 %"
    assert lines[7] == (
        "the best candidate predicts 0.0 % true, 100.0 % fal\\x1bse; balanced accuracy 50.0 %; "
        "its predictions collapsed onto one label"
    )


def test_candidates_with_a_loss_that_is_not_finite_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    unedited = outcome(4, 1.0, None)
    failed = (candidate(1), candidate(2))
    lines = report(unedited, [outcome(3, 2.0, candidate(0))], capsys, failed=failed)
    (line,) = (line for line in lines if "tried" in line and "candidates" in line)
    assert line.startswith("3 candidates tried, 2 of them with a loss that is not finite. Always ")
    lines = report(unedited, [], capsys, failed=failed)
    assert "No candidate beat the unedited model: the edit is empty." in lines
    assert any(line.startswith("2 candidates tried, 2 of them with a loss that is not finite. ") for line in lines)


def test_the_figures_of_every_edit_that_was_composed(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = candidate(3), candidate(5, 0.5)
    steps = (CompositionStep(one, 0.5, 2.25, 0.4), CompositionStep(other, 0.75, 1.5, None))
    lines = report(outcome(3, 3.0, None), [outcome(4, 2.25, one)], capsys, steps=steps)
    assert [line for line in lines if line.startswith("edit ")] == [
        "edit 1: U_out of layer 3 at ρ = 0.005, K = 16: calibration 50.0 %, NLL 2.2500, test part 40.0 %",
        "edit 2: U_out of layer 5 at ρ = 0.5, K = 16: calibration 75.0 %, NLL 1.5000",
    ]
    assert not any(line.startswith("edit ") for line in report(outcome(3, 3.0, None), [], capsys))
