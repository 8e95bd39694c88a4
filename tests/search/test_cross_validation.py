"""How many directions are fitted for how long is chosen on rows that did not fit them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cti_edits.harness.calibration import GoldRequest
from cti_edits.search import cross_validation
from cti_edits.search.cross_validation import Fitted, fitted_candidates, folds_of
from cti_edits.search.directions import Direction, chosen_directions
from cti_edits.search.scale_fit import ScaleFit
from cti_edits.search.settings import FOLDS
from cti_edits.search.time_budget import TimeBudget
from cti_edits.search.trials import SearchContext
from tests.support.small_fits import Setting, gradients_of, prepared


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Of a float32 model, for tests that leave it as it is."""
    return prepared(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize(("count", "folds"), [(1, 1), (3, 1), (4, 2), (7, 3), (8, FOLDS), (100, FOLDS)])
def test_folds_have_every_row_once(count: int, folds: int) -> None:
    made = folds_of(count, seed=5)
    assert len(made) == folds
    assert sorted(row for fold in made for row in fold) == list(range(count))
    assert max(map(len, made)) - min(map(len, made)) <= 1
    assert made == folds_of(count, 5)
    assert count < 7 or made != folds_of(count, 6)


class Recorded(ScaleFit):
    """Keeps what it was fitted on and what it said of which rows."""

    made: list[Recorded]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.directions: Sequence[Direction] = arguments[3]
        self.rows: list[GoldRequest] = list(arguments[4])
        self.judged: list[tuple[list[GoldRequest], list[float]]] = []
        self.made.append(self)

    def losses(self, requests: Sequence[GoldRequest]) -> list[float]:
        found = super().losses(requests)
        self.judged.append((list(requests), found))
        return found


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[SearchContext], tuple[list[Recorded], Fitted]]:
    """Runs `fitted_candidates`, and gives all fits that it made, and the one candidate."""

    def run(context: SearchContext) -> tuple[list[Recorded], Fitted]:
        Recorded.made = []
        with monkeypatch.context() as patched:
            patched.setattr(cross_validation, "ScaleFit", Recorded)
            (found,) = fitted_candidates(context, gradients_of(context))
        assert isinstance(found, Fitted)
        return Recorded.made, found

    return run


Run = Callable[[SearchContext], tuple[list[Recorded], Fitted]]


def test_what_a_row_says_never_reaches_the_fold_that_judges_it(small: Setting, recorded: Run) -> None:
    context = dataclasses.replace(small[0], settings=dataclasses.replace(small[0].settings, epochs=1))
    rows = context.scored.gold
    folds = folds_of(len(rows), 0)
    *fits, last = recorded(context)[0]
    assert len(fits) == len(folds) == FOLDS
    for fit, fold in zip(fits, folds, strict=True):
        ((judged, _),) = fit.judged
        assert judged == [rows[row] for row in fold]
        assert not set(judged) & set(fit.rows)
        assert {*judged, *fit.rows} == set(rows)
    assert (last.rows, last.judged) == (list(rows), [])
    # Another answer to a row of the second fold: what is fitted without that fold has the same bits.
    other = list(rows)
    other[folds[1][0]] = dataclasses.replace(other[folds[1][0]], continuation=" quack")
    changed = dataclasses.replace(context, scored=dataclasses.replace(context.scored, gold=tuple(other)))
    *again, _ = recorded(changed)[0]
    same = [one.scales() == before.scales() for one, before in zip(again, fits, strict=True)]
    assert same == [False, True, False, False]


def test_the_smallest_loss_on_what_was_held_out_chooses(small: Setting, recorded: Run) -> None:
    settings = dataclasses.replace(small[0].settings, directions=(2, 30), epochs=2)
    context = dataclasses.replace(small[0], settings=settings)
    (*fits, last), found = recorded(context)
    held_out: dict[tuple[int, int], float] = {}
    for fit in fits:
        for epoch, (_, losses) in enumerate(fit.judged, start=1):
            name = (len(fit.directions), epoch)
            held_out[name] = held_out.get(name, 0.0) + math.fsum(losses)
    assert set(held_out) == {(2, 1), (2, 2), (30, 1), (30, 2)}
    best = min(held_out, key=lambda name: held_out[name])
    assert (found.count, found.epochs) == best
    assert (len(last.directions), last.epoch) == best
    assert last.directions == chosen_directions(small[1], best[0])


def test_fitting_stops_as_soon_as_the_loss_on_what_was_held_out_rises(
    small: Setting, recorded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a tiny model it falls for long, so that the losses here are made up: they rise after the third epoch."""
    monkeypatch.setattr(ScaleFit, "losses", lambda fit, requests: [abs(fit.epoch - 3) + 1.0] * len(requests))
    settings = dataclasses.replace(small[0].settings, directions=(5, 30), epochs=9)
    (*fits, last), found = recorded(dataclasses.replace(small[0], settings=settings))
    assert len(fits) == 2 * FOLDS
    assert {fit.epoch for fit in fits} == {4}
    assert (found.epochs, last.epoch) == (3, 3)


def test_with_too_few_rows_to_hold_any_out_the_first_n_is_fitted_to_the_end(small: Setting, recorded: Run) -> None:
    settings = dataclasses.replace(small[0].settings, directions=(5, 30), epochs=3)
    few = dataclasses.replace(small[0].scored, gold=small[0].scored.gold[:3])
    (only,), found = recorded(dataclasses.replace(small[0], settings=settings, scored=few))
    assert (found, only.epoch, only.judged) == (Fitted(5, 3), 3, [])
    assert str(found) == "5 directions fitted for 3 epochs"
    assert found.cells() == {"directions": "5", "epochs": "3"}


def test_what_the_time_does_not_suffice_for_is_left_out(small: Setting, recorded: Run) -> None:
    """One epoch of one N is there in any case, so that there is something to try."""
    settings = dataclasses.replace(small[0].settings, directions=(5, 30), epochs=3)
    budget = TimeBudget(1e-9)
    (*fits, last), found = recorded(dataclasses.replace(small[0], settings=settings, budget=budget))
    assert {(len(fit.directions), fit.epoch) for fit in fits} == {(5, 1)}
    assert (found, last.epoch, budget.cut) == (Fitted(5, 1), 1, True)
