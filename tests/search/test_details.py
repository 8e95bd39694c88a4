"""What a search knows beside its manifest, of real searches and of outcomes made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cti_edits.artifact.manifest import Edit
from cti_edits.harness.calibration import CalibrationSet, GoldRequest
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.details import MOST_PROMPT, MOST_ROWS, SearchDetails, search_details
from cti_edits.search.explanation import Explanation
from cti_edits.search.outcome import Outcome
from cti_edits.search.runner import SearchResult
from tests.support.edits import BASE
from tests.support.small_searches import choices

EMPTY = Edit("empty", "", BASE, ())
CUT = RankCut(MatrixId(4, "U_in"), 2, 0.5)
OTHER = RankCut(MatrixId(6, "U_out"), 1, 0.25)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    return choices(tmp_path_factory.mktemp("rows"))


def outcome(candidate: RankCut | None, predicted: tuple[int, ...], gold: tuple[int, ...]) -> Outcome:
    correct = tuple(given == right for given, right in zip(predicted, gold, strict=True))
    return Outcome(candidate, sum(correct) / len(correct), 1.5, correct, 0, predicted=predicted)


def details(rows: CalibrationSet, edit: Edit = EMPTY) -> SearchDetails:
    """The base says 0 of every row, and the winner 1."""
    gold = rows.gold_index
    base, best = (outcome(one, (said,) * len(gold), gold) for one, said in ((None, 0), (CUT, 1)))
    result = SearchResult(base, (best,), (OTHER,), best, edit, (OTHER,), explanation=Explanation("by\nhand", "kept"))
    return search_details(result, rows)


def test_rows_that_changed_stand_with_both_answers(rows: CalibrationSet) -> None:
    found = details(rows)
    ones = rows.gold_index.count(1)
    assert (found.gained, found.lost) == (ones, len(rows.gold_index) - ones)
    assert [row.better for row in found.changed] == [True] * ones + [False] * found.lost
    for row in found.changed:
        place = rows.doc_ids.index(row.number)
        assert (row.base, row.edited) == ("moo", "woof")
        assert row.gold == ("woof" if row.better else "moo")
        assert row.prompt == rows.gold[place].context
    assert found.answers is not None
    assert found.answers.labels == ("moo", "woof")
    assert found.answers.baseline == (len(rows.gold_index), 0)
    assert found.answers.edited == (0, len(rows.gold_index))


def test_candidates_stand_best_first_with_what_was_stopped(rows: CalibrationSet) -> None:
    gold = rows.gold_index
    right = tuple(gold)
    base, bad, good = (
        outcome(None, (*right[:-1], 1 - right[-1]), gold),
        outcome(OTHER, tuple(1 - one for one in right), gold),
        outcome(CUT, right, gold),
    )
    found = search_details(SearchResult(base, (bad, good), (OTHER,), good, EMPTY), rows)
    assert [(dict(one.cells), one.accuracy, one.best) for one in found.tried] == [
        ({"matrix": "U_in", "layer": "4", "K": "2", "ρ": "0.5"}, 1.0, True),
        ({"matrix": "U_out", "layer": "6", "K": "1", "ρ": "0.25"}, 0.0, False),
    ]
    assert (found.stopped, found.failed, found.unedited) == (1, 0, base.accuracy)
    # Stopped ones tell of layers, too.
    assert found.layers == 7
    assert details(rows).failed == 1
    assert found.task_rows >= len(gold)


def test_texts_are_of_one_line_and_a_prompt_is_its_end(rows: CalibrationSet) -> None:
    long = [GoldRequest(one.doc_id, "shots\n\n" * 500 + "the\x1b question", one.continuation) for one in rows.gold]
    found = details(dataclasses.replace(rows, gold=tuple(long)))
    assert found.explanation.scored_by == "by\\nhand"
    for row in found.changed:
        assert len(row.prompt) == MOST_PROMPT
        assert row.prompt.startswith("…")
        assert row.prompt.endswith("shots the\\x1b question")


def test_of_many_rows_the_first_are_kept_each_way(rows: CalibrationSet) -> None:
    many = 40
    longer = dataclasses.replace(
        rows,
        doc_ids=tuple(range(many)),
        gold=tuple(GoldRequest(number, "a", " moo") for number in range(many)),
        gold_index=(0, 1) * (many // 2),
    )
    found = details(longer)
    assert found.gained == found.lost == many // 2
    assert [row.number for row in found.changed] == [
        *range(1, 2 * MOST_ROWS, 2), *range(0, 2 * MOST_ROWS, 2)
    ]  # fmt: skip


def test_a_task_without_fixed_labels_has_no_answers(rows: CalibrationSet, tmp_path: Path) -> None:
    found = details(dataclasses.replace(rows, labels=None))
    assert found.answers is None
    assert {(row.base, row.edited) for row in found.changed} == {(None, None)}
