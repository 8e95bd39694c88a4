"""Fitting the factors of directions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.search import scale_fit
from cti_edits.search.cross_validation import Fitted
from cti_edits.search.direction_trials import DirectionTrials
from cti_edits.search.directions import Direction, chosen_directions
from cti_edits.search.scale_fit import CLIP, FitSettings, ScaleFit
from studies.tiny import TINY
from tests.support.small_fits import Setting, prepared


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


def test_a_fit_goes_on_from_where_it_stood(small: Setting) -> None:
    whole, begun = fit_of(small), fit_of(small)
    whole.run_epoch()
    first = whole.state()
    whole.run_epoch()
    begun.skip_epoch(first)
    assert begun.scales() != whole.scales()
    begun.run_epoch()
    assert begun.epoch == whole.epoch == 2
    for one, other in zip(vars(begun.state()).values(), vars(whole.state()).values(), strict=True):
        assert torch.equal(one, other)
    assert begun.losses(small[2].gold) == whole.losses(small[2].gold)
