"""What a search cost beside the paper's systems."""

from __future__ import annotations

import dataclasses

import pytest

from cti_edits.artifact.manifest import Edit, load
from cti_edits.report.compute import THIS, kind_of, search_passes, system_costs
from cti_edits.search.cost import cost_here
from cti_edits.search.presets import Preset, find_preset
from tests.conftest import ROOT
from tests.support.edits import BASE, SEARCH, entry
from tests.support.reports import hostile_details

DETAILS = hostile_details("a")
"""Of 12 layers and 500 rows."""


def recorded(preset: Preset, candidates: int) -> Edit:
    """As a search with a preset records itself."""
    settings = preset.settings("causal")
    search = dataclasses.replace(
        SEARCH,
        samples=100,
        evaluated_on=100,
        top_q=settings.top_q if settings.cuts_ranks else None,
        method=None if settings.cuts_ranks else settings.method,
        directions=None if settings.cuts_ranks else settings.directions,
        epochs=settings.epochs or None,
        candidates=candidates,
    )
    return Edit("one", "", BASE, (entry(),), search=search)


@pytest.mark.parametrize("name", ["cl-100g-100e", "sigma-step", "sigma-fit"])
def test_a_recorded_search_counts_as_its_preset_does(name: str) -> None:
    preset = find_preset(name)
    counted = cost_here(preset, "causal", 1000, 28, held_out=0)
    edit = recorded(preset, round(counted.candidates / 100))
    assert edit.search is not None
    # Until the edit is found: the guard comes after.
    assert search_passes(edit.search) == counted.total - counted.guard


def test_the_paper_s_systems_stand_beside_a_task_of_the_paper_with_its_accuracies() -> None:
    found = {one.name: one for one in system_costs(load(ROOT / "edits" / "gptj_fever.json"), None)}
    assert found["laser"].accuracy == pytest.approx(0.562)
    assert found["laser"].source.startswith("arXiv")
    assert found["cl-laser"].passes > found["laser"].passes > found["cl-100g-100e"].passes
    assert [one.passes for one in found.values()] == sorted((one.passes for one in found.values()), reverse=True)


def test_elsewhere_they_count_for_a_task_and_a_model_of_this_size() -> None:
    edit = recorded(find_preset("cl-100g-100e"), 40)
    found = {one.name: one for one in system_costs(edit, DETAILS)}
    assert found[THIS].passes == 250 + 41 * 100
    assert found["laser"].accuracy is None
    assert found["laser"].passes == (1 + 12 * 2 * 9) * 100
    assert [one.name for one in system_costs(edit, None)] == [THIS]
    assert system_costs(dataclasses.replace(edit, search=None), None) == []


def test_the_accuracy_is_the_held_out_one_where_there_is_one() -> None:
    edit = load(ROOT / "tests" / "data" / "edit-2" / "every_field.json")
    this = next(one for one in system_costs(edit, None) if one.name == THIS)
    assert edit.results.test is not None
    assert (this.accuracy, this.source) == (edit.results.test.edited, "held out")
    only = dataclasses.replace(edit, results=dataclasses.replace(edit.results, test=None))
    assert next(one for one in system_costs(only, None) if one.name == THIS).source == "calibration"


def test_the_kind_is_that_of_the_class() -> None:
    edit = recorded(find_preset("laser"), 1)
    masked = dataclasses.replace(edit, base_model=dataclasses.replace(BASE, architecture="RobertaForMaskedLM"))
    assert (kind_of(edit), kind_of(masked)) == ("causal", "masked")
