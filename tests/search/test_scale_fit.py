"""Fitting the factors of directions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, GoldRequest
from cti_edits.search import scale_fit
from cti_edits.search.direction_gradients import DirectionGradients, direction_gradients
from cti_edits.search.direction_trials import DirectionTrials
from cti_edits.search.directions import Direction, chosen_directions
from cti_edits.search.scale_fit import CLIP, FitSettings, Fitted, ScaleFit, fitted_candidates, folds_of
from cti_edits.search.settings import FOLDS, SearchSettings
from cti_edits.search.trials import SearchContext
from studies.tiny import TINY
from tests.support.small_searches import choices, lm_of, search_context
from tests.support.tiny_models import tiny_model

Setting = tuple[SearchContext, DirectionGradients, CalibrationSet]


def prepared(folder: Path, model: Any = None, clusters: int = 1, **settings: Any) -> Setting:
    """A context with the gradients of its rows, by fold."""
    lm = lm_of("gptj", tiny_model("gptj") if model is None else model)
    rows = choices(folder, samples=8)
    asked = SearchSettings(
        **{"method": "directions", "clusters": (clusters,), "directions": (6,), "epochs": 2, **settings}
    )
    context = search_context(lm, rows, asked, folder)
    return context, gradients_of(context), rows


def gradients_of(context: SearchContext) -> DirectionGradients:
    return direction_gradients(
        context.session, context.scored, context.settings.clusters[0], context.targets, context.cache,
        context.progress, folds_of(len(context.scored.gold), context.settings.seed),
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Of a float32 model, for tests that leave it as it is."""
    return prepared(tmp_path_factory.mktemp("small"))


def fit_of(setting: Setting, count: int = 6, settings: FitSettings | None = None, seed: int = 0) -> ScaleFit:
    context, gradients, rows = setting
    chosen = chosen_directions(gradients, count)
    return ScaleFit(
        context.session, context.targets, gradients, chosen, rows.gold, settings or FitSettings(batch=3), seed
    )


def loss_with(setting: Setting, scales: dict[Direction, float]) -> float:
    """The mean loss of the rows with the factors in the weights."""
    context, gradients, rows = setting
    name = Fitted(len(scales), 1)
    (trial,) = DirectionTrials(context.targets, gradients, {name: scales}).trials([name])
    lm = context.session.lm
    former = [(target, target.weight.clone()) for target, _ in trial.weights]
    try:
        with torch.no_grad():
            for target, edited in trial.weights:
                target.weight.copy_(edited)
            return lm.answer_losses(list(rows.gold)).mean().item()
    finally:
        with torch.no_grad():
            for target, weight in former:
                target.weight.copy_(weight)


@pytest.mark.parametrize(("model_type", "close"), [("gptj", 1e-4), ("mpt", 1e-3)])
def test_the_gradient_of_each_factor_is_that_of_finite_differences(
    model_type: str, close: float, tmp_path: Path
) -> None:
    """Of factors that are not 1 any more, in float64, two row blocks. MPT does not heed the masks of packed rows,
    and takes its softmax in float32.
    """
    setting = prepared(tmp_path, TINY[model_type].build().double(), clusters=2)
    fit = fit_of(setting, 6)
    fit.run_epoch()
    gradient = fit.gradient(setting[2].gold)
    scales = fit.scales()
    assert all(abs(scale - 1) > 1e-3 for scale in scales.values())
    mean = math.fsum(fit.losses(setting[2].gold)) / len(setting[2].gold)
    assert mean == pytest.approx(loss_with(setting, scales), rel=1e-6)
    for slope, (one, scale) in zip(gradient.tolist(), scales.items(), strict=True):
        ends = [loss_with(setting, {**scales, one: scale + sign * 1e-4}) for sign in (1, -1)]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=close, abs=1e-7)


def test_an_epoch_lowers_the_loss_of_the_rows(small: Setting) -> None:
    fit = fit_of(small, 40)
    rows = small[2].gold
    before = math.fsum(fit.losses(rows))
    seen: list[int] = []
    for _ in range(3):
        fit.run_epoch(seen.append)
    assert math.fsum(fit.losses(rows)) < before
    assert (seen, fit.epoch) == ([3, 3, 2] * 3, 3)


def test_the_same_seed_gives_the_same_factors_and_another_one_others(small: Setting) -> None:
    factors = []
    for seed in (3, 3, 4):
        fit = fit_of(small, seed=seed)
        fit.run_epoch()
        factors.append(fit.scales())
    assert factors[0] == factors[1]
    assert factors[0] != factors[2]
    assert list(factors[0]) == chosen_directions(small[1], 6)


def hooks(model: Any) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_no_weight_changes_a_bit_and_no_hook_stays_after_an_error(small: Setting) -> None:
    model = small[0].session.lm.model
    former = {name: value.clone() for name, value in model.state_dict().items()}

    def fail(_: int) -> None:
        raise LookupError

    fit = fit_of(small)
    with pytest.raises(LookupError):
        fit.run_epoch(fail)
    fit.run_epoch()
    fit.losses(small[2].gold)
    broken = fit_of(small, settings=FitSettings(rate=1e308, batch=3))
    with pytest.raises(EditError, match=r"not finite[^\n]*$"):
        broken.run_epoch()
    assert hooks(model) == 0
    assert all(torch.equal(value, former[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in model.parameters())


def test_a_long_gradient_is_shortened(small: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CLIP == 1.0
    rows = small[2].gold
    plain = fit_of(small).gradient(rows)
    length = float(plain.norm())
    for most in (length / 4, length * 4):
        monkeypatch.setattr(scale_fit, "CLIP", most)
        fit = fit_of(small, settings=FitSettings(batch=len(rows)))
        fit.run_epoch()
        assert fit.p.grad is not None
        torch.testing.assert_close(fit.p.grad, plain * min(1.0, most / length), rtol=1e-4, atol=1e-7)


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
            patched.setattr(scale_fit, "ScaleFit", Recorded)
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
