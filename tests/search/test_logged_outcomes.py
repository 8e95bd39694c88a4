"""Candidates that are in a log are not evaluated again, unless they were stopped for a reason that holds no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NotFiniteError, StopRule
from cti_edits.search.candidates import RankCut
from cti_edits.search.logged_outcomes import LoggedOutcomes, meaning
from cti_edits.search.outcome import Outcome
from cti_edits.search.search_log import SearchLog
from cti_edits.search.settings import SearchSettings

CUT = RankCut(MatrixId(0, "U_in"), 1, 0.5)
OUTCOME = Outcome(CUT, 0.5, 1.25, (True, False), -3)
UNEDITED = Outcome(None, 0.5, 1.5, (True, False), 0)


def known_of(log: SearchLog, tokens: int | None = 256) -> LoggedOutcomes:
    return LoggedOutcomes(log.steps, tokens)


def never(_: StopRule | None) -> Outcome | None:
    raise AssertionError("it is in the log")


def test_an_outcome_comes_back_at_the_same_size_of_batches_alone(tmp_path: Path) -> None:
    with SearchLog(tmp_path / "a.jsonl") as log:
        assert not known_of(log).has(CUT)
        assert known_of(log).evaluated(CUT, lambda _: OUTCOME) == OUTCOME
    with SearchLog(tmp_path / "a.jsonl") as log:
        assert known_of(log).has(CUT)
        assert known_of(log).recalled(CUT, None) == OUTCOME
        assert not known_of(log, 128).has(CUT)
        assert not known_of(log).has(RankCut(MatrixId(1, "U_in"), 1, 0.5))
        other = Outcome(CUT, 0.0, 2.0, (False, False), -3)
        assert known_of(log).as_applied(CUT, lambda _: other) == other
        assert known_of(log).as_applied(CUT, never) == other
        assert known_of(log).recalled(CUT, None) == OUTCOME


def test_one_that_was_stopped_is_evaluated_again_where_it_might_win(tmp_path: Path) -> None:
    def stopped(stop: StopRule | None) -> Outcome | None:
        assert stop is not None
        assert not stop(0, 0.5)
        assert stop(1, 2.5)
        return None

    with SearchLog(tmp_path / "a.jsonl") as log:
        assert known_of(log).evaluated(CUT, stopped, lambda wrong, _: wrong > 0) is None
    with SearchLog(tmp_path / "a.jsonl") as log:
        known = known_of(log)
        asked: list[tuple[int, float]] = []

        def still(wrong: int, loss: float) -> bool:
            asked.append((wrong, loss))
            return loss > 1

        assert known.recalled(CUT, still) is None
        assert asked == [(1, 2.5)]
        assert known.has(CUT)
        assert known.recalled(CUT, lambda _wrong, loss: loss > 3) is None
        assert not known.has(CUT)
        assert known.evaluated(CUT, lambda _: OUTCOME) == OUTCOME
    with SearchLog(tmp_path / "a.jsonl") as log:
        assert known_of(log).recalled(CUT, None) == OUTCOME


def test_one_with_which_a_loss_is_not_finite(tmp_path: Path) -> None:
    def fails(_: StopRule | None) -> Outcome | None:
        raise NotFiniteError("on row 3")

    with SearchLog(tmp_path / "a.jsonl") as log, pytest.raises(NotFiniteError):
        known_of(log).evaluated(CUT, fails)
    with SearchLog(tmp_path / "a.jsonl") as log:
        assert known_of(log).has(CUT)
        with pytest.raises(NotFiniteError, match=r"^on row 3$"):
            known_of(log).recalled(CUT, None)


def test_figures_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    with SearchLog(tmp_path / "a.jsonl") as log:
        known_of(log).check_unedited(UNEDITED)
        known_of(log).check_unedited(UNEDITED)
        other = Outcome(None, 0.5, 1.5000001, (True, False), 0)
        with pytest.raises(EditError, match=r"accuracy 0\.5 and NLL 1\.5.*, not 0\.5 and 1\.5.*begin anew \(fresh\)$"):
            known_of(log).check_unedited(other)
        known_of(log, 128).check_unedited(other)


def test_what_a_candidate_means_in_a_wider_search() -> None:
    assert meaning(SearchSettings(rates=(0.1,))) == meaning(SearchSettings()) == {}
    steps = {"method": "directions", "clusters": (1,)}
    one, wider, more = (
        meaning(SearchSettings(**steps, **other))  # type: ignore[arg-type]
        for other in ({}, {"drops": (0.5,), "epochs": 3}, {"matrices": ("U_in",)})
    )
    assert one == wider
    assert one != more
