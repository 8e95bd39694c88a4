"""The paper's nine systems: what each tries, what each costs, and the speed-ups that the paper prints."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.models.architectures import Kind
from cti_edits.paper.published import paper_tables
from cti_edits.search.cost import as_printed, candidate_count, cost_here, paper_cost, speed_up
from cti_edits.search.presets import PRESETS, find_preset, with_overrides
from cti_edits.search.settings import RATES, SearchSettings

TABLES = paper_tables()
SIZES: dict[str, int] = TABLES["table_6_dataset_sizes"]
COLUMNS = {"table_1_gptj": ("causal", 28), "table_2_roberta": ("masked", 12), "table_3_gptj": ("causal", 28)}
KINDS: dict[str, Kind] = {"causal": "causal", "masked": "masked"}


def columns() -> list[tuple[str, str, dict[str, float]]]:
    """Every printed speed-up column: table, preset, and from task to figure."""
    return [
        (table, preset, cells["speedup"])
        for table in COLUMNS
        for preset, cells in TABLES[table].items()
        if preset in PRESETS and "speedup" in cells
    ]


ENTRIES = [(table, preset, task, printed) for table, preset, cells in columns() for task, printed in cells.items()]
FROM_A_SMALLER_FEVER = {
    ("table_1_gptj", "cl-100g-100e"): "45.05",
    ("table_3_gptj", "laser-100e"): "21.85",
    ("table_3_gptj", "laser-100g-100e"): "86.96",
}
"""tables.json's note: they follow from a FEVER a little smaller than table 6's. With what the formula gives here."""
OTHER_FEVER = {("table_1_gptj", "cl-100g-se"), ("table_3_gptj", "laser-100g-se")}
"""FEVER entries of tables 1 and 3 too (1.96 and 10.1, where the formula gives 1.98 and 10.2), which the note covers
but does not explain: they follow from no size near table 6's."""


def follows(table: str, preset: str, dataset_size: int, printed: float) -> bool:
    kind, layers = COLUMNS[table]
    return float(as_printed(speed_up(PRESETS[preset], KINDS[kind], dataset_size, layers))) == printed


@pytest.mark.parametrize(("table", "preset", "task", "printed"), ENTRIES)
def test_the_printed_speed_up_follows_from_the_formula(table: str, preset: str, task: str, printed: float) -> None:
    expected = task != "fever" or (table, preset) not in {*FROM_A_SMALLER_FEVER, *OTHER_FEVER}
    assert follows(table, preset, SIZES[task], printed) is expected


def test_every_entry_is_there() -> None:
    assert len(ENTRIES) == 8 * (2 + 2 + 4)
    assert {(table, preset) for table, preset, _ in columns()} >= {*FROM_A_SMALLER_FEVER, *OTHER_FEVER}


@pytest.mark.parametrize("entry", FROM_A_SMALLER_FEVER)
def test_three_fever_entries_follow_from_a_smaller_data_set(entry: tuple[str, str]) -> None:
    table, preset = entry
    printed = TABLES[table][preset]["speedup"]["fever"]
    assert any(follows(table, preset, size, printed) for size in range(12_700, 13_086))
    formula = speed_up(PRESETS[preset], "causal", SIZES["fever"], 28)
    assert f"{formula:.2f}" == FROM_A_SMALLER_FEVER[entry]


@pytest.mark.parametrize(("table", "preset", "cells"), columns())
def test_the_printed_averages_are_their_columns_means(table: str, preset: str, cells: dict[str, float]) -> None:
    printed = TABLES[table]["printed_averages"]["speedup"][preset]
    mean = float(as_printed(sum(cells.values()) / len(cells)))
    # tables.json's note: 22.2 is not the mean of its column.
    assert (mean == printed) is ((table, preset) != ("table_2_roberta", "cl-100g-100e"))


def formula(preset: str, d: int, A: int, q: int) -> float:
    """DESIGN section 7, as it stands there; q is 5, for RoBERTa 7."""
    return {
        "laser": A * 9 * 0.2 * d + 0.2 * d + 0.8 * d,
        "laser-grads-se": 2.5 * 0.2 * d + 5 * 9 * 0.2 * d + 0.2 * d + 0.8 * d,
        "laser-100e": A * 9 * 100 + 100 + 0.8 * d,
        "laser-100g-se": 250 + 5 * 9 * 0.2 * d + 0.2 * d + 0.8 * d,
        "laser-100g-100e": 250 + 5 * 9 * 100 + 100 + 0.8 * d,
        "cl-laser": A * 9 * 5 * 0.2 * d + 0.2 * d + 0.8 * d,
        "cl-100g-se": 1000 + 7 * 4 * 9 * 0.2 * d + 0.2 * d + 0.8 * d,
        "cl-100g-100e": 1000 + q * 4 * 9 * 100 + 100 + 0.8 * d,
        "optimal-clustering": A * 9 * 5 * 0.2 * d + 0.2 * d + 0.8 * d,
    }[preset]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("kind", "layers", "q"), [("causal", 28, 5), ("masked", 12, 7)])
@pytest.mark.parametrize("dataset_size", [65757, 2000, 17])
def test_costs_are_the_designs_formulas(preset: str, kind: Kind, layers: int, q: int, dataset_size: int) -> None:
    counted = paper_cost(PRESETS[preset], kind, dataset_size, layers).total
    assert counted == pytest.approx(formula(preset, dataset_size, 2 * layers, q), rel=1e-12)


def test_here_one_gradient_pass_serves_every_k_and_the_base_is_tested_too() -> None:
    here = cost_here(PRESETS["cl-100g-100e"], "causal", 1000, 28)
    assert (here.gradients, here.candidates, here.unedited, here.test) == (250, 18_000, 100, 1600)
    assert cost_here(PRESETS["cl-100g-100e"], "causal", 1000, 28, final=False).test == 0
    assert cost_here(PRESETS["laser"], "causal", 1000, 28).gradients == 0


def test_the_example_of_the_readme() -> None:
    assert as_printed(speed_up(PRESETS["cl-100g-100e"], "causal", 65757, 28)) == "93.4"


@pytest.mark.parametrize(
    ("value", "printed"), [(93.355, "93.4"), (9.8449, "9.84"), (0.8575, "0.86"), (9.996, "10.0"), (10.8465, "10.9")]
)
def test_speed_ups_have_the_papers_digits(value: float, printed: str) -> None:
    assert as_printed(value) == printed


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
