"""The paper's nine systems: what each tries, and what of it can be set otherwise."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.models.architectures import Kind
from cti_edits.search.cost import candidate_count, cost_here
from cti_edits.search.presets import PRESETS, find_preset, with_overrides
from cti_edits.search.settings import RATES, SearchSettings

KINDS: dict[str, Kind] = {"causal": "causal", "masked": "masked", "seq2seq": "seq2seq"}


SPACES: dict[str, tuple[Any, ...]] = {
    # top q, gradients on, K, evaluated on; then what differs for masked language models
    "laser": (None, None, (1,), "validation"),
    "laser-grads-se": (5, "validation", (1,), "validation"),
    "laser-100e": (None, None, (1,), "sample"),
    "laser-100g-se": (5, "sample", (1,), "validation"),
    "laser-100g-100e": (5, "sample", (1,), "sample"),
    "cl-laser": (None, None, (1, 2, 4, 8, 16), "validation"),
    "cl-100g-se": (7, "sample", (2, 4, 8, 16), "validation", 7, (1, 2, 4, 8)),
    "cl-100g-100e": (5, "sample", (2, 4, 8, 16), "sample", 7, (1, 2, 4, 8)),
}


@pytest.mark.parametrize("name", SPACES)
def test_each_preset_tries_what_the_paper_tried(name: str) -> None:
    top_q, gradients_on, clusters, evaluated_on, *masked = SPACES[name]
    for kind, q, levels in (
        ("causal", top_q, clusters),
        ("masked", *(masked or (top_q, clusters))),
    ):
        settings = find_preset(name).settings(KINDS[kind])
        assert (settings.top_q, settings.clusters, settings.evaluated_on) == (q, levels, evaluated_on)
        assert settings.rates == RATES
        assert settings.matrices == ("U_in", "U_out")
        assert settings.samples == 100
        assert settings.preset == name
        if gradients_on is not None:
            assert settings.gradients_on == gradients_on


def test_there_are_nine() -> None:
    assert set(PRESETS) == {*SPACES, "optimal-clustering"}
    assert candidate_count(PRESETS["cl-100g-100e"], "masked", 12) == 7 * 4 * 9
    assert candidate_count(PRESETS["laser"], "causal", 28) == 56 * 9


def test_optimal_clustering_is_cl_laser_with_rows_assigned_by_k_subspaces() -> None:
    optimal, consecutive = (find_preset(name).settings("masked") for name in ("optimal-clustering", "cl-laser"))
    assert optimal == dataclasses.replace(consecutive, partition="k-subspaces", preset="optimal-clustering")


@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_tried_by_two(kind: str) -> None:
    step, fit = (find_preset(name).settings(KINDS[kind]) for name in ("sigma-step", "sigma-fit"))
    assert (step.method, step.directions, step.drops, step.epochs) == (
        "directions", (64, 256, 1024, 4096), (0.1, 0.3, 1.0), 0,
    )  # fmt: skip
    assert (fit.method, fit.directions, fit.epochs) == ("directions", (1024, 4096), 4)
    for one in (step, fit):
        assert (one.clusters, one.top_q, one.samples, one.evaluated_on) == ((1,), None, 100, "sample")
        assert one.takes_gradients
        assert not one.cuts_ranks
    assert step.preset == "sigma-step"
    assert with_overrides(step, {"drops": (0.3,)}).preset is None


@pytest.mark.parametrize(
    ("name", "near"), [("cl-100g-100", "cl-100g-100e"), ("LASER", "laser"), ("laser-100s", "laser-100e")]
)
def test_an_unknown_preset_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(EditError, match=f"did you mean .*{near}") as refusal:
        find_preset(name)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_near_nothing_names_all_of_them() -> None:
    with pytest.raises(EditError) as refusal:
        find_preset("\x1b[31mqqq")
    assert all(name in str(refusal.value) for name in PRESETS)
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_q": {"causal": 5}}, "top_q: expected a value for each of causal, masked"),
        ({"clusters": {"causal": (1,), "masked": (1,), "both": (1,)}}, "clusters: expected a value for each of"),
        ({"evaluated_on": "test"}, "evaluated_on: expected one of sample, validation, got 'test'"),
    ],
)
def test_a_preset_is_for_both_kinds_and_for_examples_that_there_are(given: dict[str, Any], message: str) -> None:
    with pytest.raises(EditError, match=f"^{message}"):
        dataclasses.replace(PRESETS["laser"], **given)


def test_encoder_decoders_are_searched_as_causal_models_unless_a_preset_says_otherwise() -> None:
    laser = find_preset("cl-100g-100e")
    assert laser.settings("seq2seq") == laser.settings("causal") != laser.settings("masked")
    own = dataclasses.replace(laser, top_q={"causal": 1, "masked": 2, "seq2seq": 3})
    assert [own.settings(kind).top_q for kind in KINDS.values()] == [1, 2, 3]


def test_what_a_preset_sets_is_in_its_settings_and_in_its_cost() -> None:
    laser = dataclasses.replace(PRESETS["cl-100g-100e"], samples=10, rates=(0.5,), matrices=("U_in", "U_up", "U_out"))
    settings = laser.settings("causal")
    assert (settings.samples, settings.rates, settings.matrices) == (10, (0.5,), ("U_in", "U_up", "U_out"))
    here = cost_here(laser, "causal", 1000, 1)
    # Of three matrices all are kept, at four K and one rate.
    assert (here.gradients, here.candidates, here.unedited) == (25, 3 * 4 * 1 * 10, 10)


def test_overrides_drop_the_presets_name_where_they_differ() -> None:
    preset = find_preset("cl-100g-100e").settings("causal")
    assert with_overrides(preset, {"seed": 3}).preset == "cl-100g-100e"
    assert with_overrides(preset, {"samples": 100, "clusters": (2, 4, 8, 16), "seed": 1}).preset == "cl-100g-100e"
    for overrides in ({"samples": 99}, {"top_q": 4}, {"clusters": (2,)}, {"rates": (0.5,)}, {"matrices": ("U_in",)}):
        changed = with_overrides(preset, overrides)
        assert changed.preset is None
        ((key, value),) = overrides.items()
        assert getattr(changed, key) == value
    assert with_overrides(SearchSettings(), {"seed": 3}).preset is None


def test_samples_take_the_place_of_the_whole_part_where_nothing_is_drawn() -> None:
    laser = with_overrides(find_preset("laser").settings("causal"), {"samples": 100})
    assert (laser.evaluated_on, laser.samples, laser.preset) == ("sample", 100, None)
    both = with_overrides(find_preset("laser-grads-se").settings("causal"), {"samples": 30})
    assert (both.gradients_on, both.evaluated_on) == ("sample", "sample")
    gradients = with_overrides(find_preset("cl-100g-se").settings("causal"), {"samples": 30})
    assert (gradients.gradients_on, gradients.evaluated_on, gradients.samples) == ("sample", "validation", 30)


def test_values_out_of_range_are_refused() -> None:
    preset = find_preset("cl-100g-100e").settings("causal")
    for overrides, named in (({"samples": 0}, "samples"), ({"top_q": 0}, "top_q"), ({"rates": (2.0,)}, "rates")):
        with pytest.raises(EditError, match=named):
            with_overrides(preset, overrides)
