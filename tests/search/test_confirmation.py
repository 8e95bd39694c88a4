"""The best few candidates again on fresh rows, against the reference evaluator on those rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import EditError
from cti_edits.harness.other_text import OtherText
from cti_edits.harness.own_rows import own_rows
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import applied, target_matrix
from cti_edits.replay.session import Session
from cti_edits.search.candidates import RankCut
from cti_edits.search.examples import SearchExamples, examples, searched_task
from cti_edits.search.guard import TextGuard
from cti_edits.search.outcome import Outcome
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import Notes, lm_of, rank_cut
from tests.support.tiny_models import tiny_model

ROWS = [
    {"prompt": f"{7 * i % 51} {chr(97 + 11 * i % 26)}:", "choices": ["yes", "no"], "gold": 1 - i * i % 3 % 2}
    for i in range(44)
]
SETTINGS = SearchSettings(samples=8, top_q=2, clusters=(1, 2), rates=(0.5, 0.1, 0.05))


@pytest.fixture(scope="module")
def lm() -> Any:
    return lm_of("gptj", tiny_model("gptj", seed=4))


def chosen(settings: SearchSettings, rows: list[dict[str, Any]] = ROWS) -> SearchExamples:
    task, settings = searched_task(own_rows(rows), settings)
    return examples(task, settings, held_out=None)


def searched(lm: Any, settings: SearchSettings, notes: Notes | None = None, **more: Any) -> SearchResult:
    rows = chosen(settings)
    named: dict[str, Any] = {"name": "tiny", "base_id": "tiny", "progress": notes, "test": rows.test, **more}
    return run_search(lm, rows.evaluations, settings, confirmation=rows.confirmation, **named)


@pytest.mark.parametrize(("seed", "found"), [(4, True), (7, True), (6, False)])
def test_fresh_rows_choose_among_the_best(seed: int, found: bool, lm: Any) -> None:
    settings = dataclasses.replace(SETTINGS, seed=seed, confirm=3)
    rows = chosen(settings)
    fresh, test = rows.confirmation, rows.test
    assert fresh is not None
    assert test is not None
    parts = [set(one.row_hashes) for one in (rows.evaluations, fresh, test)]
    assert [len(part) for part in parts] == [8, 8, 28]
    assert len(set.union(*parts)) == 44

    former = searched(lm, dataclasses.replace(settings, confirm=None), exact_stop=False, test=None)
    result = searched(lm, settings)
    assert result.unedited == former.unedited
    assert result.outcomes == former.outcomes
    few = sorted(former.outcomes, key=Outcome.order)[:3]
    assert all(one.order() < former.unedited.order() for one in few), "this seed shows nothing"
    assert result.again is not None
    assert {one.candidate for one in result.again.outcomes} == {one.candidate for one in few}
    again = min((result.again.unedited, *result.again.outcomes), key=Outcome.order)
    assert result.best.candidate == again.candidate
    assert result.best in (former.unedited, *few)
    assert (result.best.candidate is not None) is found
    assert result.best.candidate != former.best.candidate, "fresh rows change nothing, so this test shows little"

    reference = ReferenceEvaluator(lm, fresh)
    base = reference.evaluate()
    with applied(result.edit, lm.model):
        edited = reference.evaluate()
    confirmation, calibration = result.edit.results.confirmation, result.edit.results.calibration
    assert confirmation is not None
    assert calibration is not None
    assert (confirmation.n, confirmation.baseline, confirmation.edited) == (8, base.accuracy, edited.accuracy)
    assert confirmation.edited_nll == pytest.approx(edited.nll, abs=1e-5)
    assert (calibration.edited, calibration.edited_nll) == (result.best.accuracy, result.best.nll)
    search = result.edit.search
    assert search is not None
    assert (search.confirm, search.candidates) == (3, len(former.outcomes))
    assert search.row_hashes is not None
    assert former.edit.search is not None
    assert former.edit.search.row_hashes is not None
    assert len(search.row_hashes) == 2 * len(former.edit.search.row_hashes)


def test_one_over_the_limit_takes_no_place_among_the_best(lm: Any) -> None:
    settings, text = dataclasses.replace(SETTINGS, seed=4), OtherText("a few words", "The cat sat on the mat. " * 9)
    former = searched(lm, settings, exact_stop=False, test=None)
    few = sorted(former.outcomes, key=Outcome.order)[:4]
    assert all(one.order() < former.unedited.order() for one in few), "this seed shows nothing"
    kls = [kl_of(lm, rank_cut(one), text) for one in few]
    limit = sorted(kls)[2]
    notes = Notes()
    result = searched(lm, dataclasses.replace(settings, confirm=2, max_kl=limit), notes, guard=text, test=None)
    within = [one.candidate for one, kl in zip(few, kls, strict=True) if kl <= limit]
    (over,) = [one.candidate for one in few if one.candidate not in within]
    assert over in [one.candidate for one in few[:2]], "this seed shows nothing"
    assert result.again is not None
    assert {one.candidate for one in result.again.outcomes} == set(within[:2])
    assert over in result.failed
    assert over not in [one.candidate for one in result.outcomes]
    assert any(line.startswith(f"loses: {over}: its KL on other text is") for line in notes.lines)
    assert result.edit.search is not None
    assert result.edit.search.candidates == len(former.outcomes)


def kl_of(lm: Any, cut: RankCut, text: OtherText) -> float:
    """Of the edit that has this cut alone."""
    guard = TextGuard(Session(lm), text)
    target = target_matrix(lm.model, cut.target.matrix, cut.target.layer)
    shape = (target.weight.shape[0], target.weight.shape[1])
    return guard.measure([(target, truncate(target.weight, block_ranks(shape, cut.clusters, cut.rho)))]).kl


def test_rows_that_were_all_drawn_leave_none_to_confirm_by() -> None:
    with pytest.raises(EditError, match=r"^confirm: rows: its validation part has 8 rows, and none that was not drawn"):
        chosen(dataclasses.replace(SETTINGS, confirm=2), ROWS[:8])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"confirm": 0}, "confirm: expected 1 to 1000, got 0"),
        ({"confirm": 2, "compose": 2}, r"confirm: not together with several edits \(compose\)"),
        ({"confirm": 2, "evaluated_on": "validation"}, "confirm: every row of the validation part is evaluated on"),
    ],
)
def test_what_cannot_be_confirmed_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(EditError, match=why):
        SearchSettings(**more)


def test_a_number_without_rows_is_refused(lm: Any) -> None:
    rows = chosen(SETTINGS)
    with pytest.raises(EditError, match="confirm: expected fresh rows and how many candidates"):
        run_search(lm, rows.evaluations, dataclasses.replace(SETTINGS, confirm=2), name="tiny", base_id="tiny")
