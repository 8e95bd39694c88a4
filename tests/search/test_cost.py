"""What each of the paper's nine systems costs, and the speed-ups that the paper prints."""

from __future__ import annotations

import dataclasses

import pytest

from cti_edits.errors import EditError
from cti_edits.models.architectures import Kind
from cti_edits.paper.published import paper_tables
from cti_edits.search.cost import as_printed, candidate_count, cost_here, paper_cost, speed_up
from cti_edits.search.presets import PRESETS, find_preset

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
    # Random edits, on the same rows; of more than 1,000, so many are drawn.
    assert here.control == 5 * 800
    # Both models read 32 pieces of other text.
    assert here.guard == 2 * 32
    assert here.total == 250 + 18_000 + 100 + 1600 + 5 * 800 + 64
    assert cost_here(PRESETS["cl-100g-100e"], "causal", 50_000, 28).test == 2000
    assert cost_here(PRESETS["cl-100g-100e"], "causal", 1000, 28, held_out=0).test == 0
    assert cost_here(PRESETS["laser"], "causal", 1000, 28).gradients == 0


def test_directions_cost_what_the_design_says() -> None:
    """Of 100 rows: 12 steps; or two N in four folds for four epochs, and the best on all rows."""
    step, fit = (find_preset(name) for name in ("sigma-step", "sigma-fit"))
    paper = paper_cost(step, "causal", 1000, 28)
    assert (paper.gradients, paper.fitting, paper.candidates, paper.unedited, paper.test) == (250, 0, 1200, 100, 800)
    assert paper.total == 250 + 12 * 100 + 100 + 0.8 * 1000
    here = cost_here(step, "masked", 1000, 3)
    assert (here.gradients, here.candidates, here.unedited, here.test) == (250, 1200, 100, 1600)
    assert candidate_count(step, "causal", 28) == 12
    fitted = paper_cost(fit, "causal", 1000, 28)
    assert fitted.fitting == 2 * 4 * (3 * 250 + 100) + 4 * 250
    assert fitted.total == 250 + fitted.fitting + 100 + 100 + 800
    assert cost_here(fit, "causal", 1000, 28, held_out=0).total == fitted.total - 800 + 64
    assert candidate_count(fit, "masked", 12) == 1


@pytest.mark.parametrize(("samples", "folds"), [(3, 1), (5, 2), (7, 3), (9, 4)])
def test_fitting_is_counted_as_it_is_done(samples: int, folds: int) -> None:
    preset = dataclasses.replace(find_preset("sigma-fit"), samples=samples, directions=(2, 3, 4), epochs=5)
    held_out = 3 * 5 * ((folds - 1) * 2.5 * samples + samples) if folds > 1 else 0
    assert cost_here(preset, "causal", 1000, 2).fitting == held_out + 5 * 2.5 * samples


def test_what_a_plugins_method_tries_is_not_counted() -> None:
    preset = dataclasses.replace(find_preset("sigma-step"), name="mine", method="magic")
    for count in (lambda: candidate_count(preset, "causal", 2), lambda: cost_here(preset, "causal", 99, 2)):
        with pytest.raises(EditError, match=r"^mine: only the plugin of the method magic knows what it tries$"):
            count()


def test_the_example_of_the_readme() -> None:
    assert as_printed(speed_up(PRESETS["cl-100g-100e"], "causal", 65757, 28)) == "93.4"


@pytest.mark.parametrize(
    ("value", "printed"), [(93.355, "93.4"), (9.8449, "9.84"), (0.8575, "0.86"), (9.996, "10.0"), (10.8465, "10.9")]
)
def test_speed_ups_have_the_papers_digits(value: float, printed: str) -> None:
    assert as_printed(value) == printed
