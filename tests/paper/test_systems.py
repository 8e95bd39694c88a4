"""What the paper reports of its systems on a task."""

from __future__ import annotations

import pytest

from cti_edits.paper.published import edits
from cti_edits.paper.systems import paper_task
from cti_edits.search.presets import PRESETS


def test_fever_of_gpt_j_as_tables_1_3_4_and_6_print_it() -> None:
    found = paper_task("EleutherAI/gpt-j-6b", "cti_fever")
    assert found is not None
    assert (found.rows, found.layers) == (13086, 28)
    assert found.baseline == pytest.approx(0.502)
    shares = {"laser": 0.562, "cl-100g-100e": 0.533, "laser-100e": 0.504, "cl-laser": 0.578}
    assert {name: found.accuracies[name] for name in shares} == pytest.approx(shares)


def test_every_published_edit_has_its_own_figure_and_systems_are_presets() -> None:
    for edit in edits():
        assert edit.task is not None
        assert edit.results.reported is not None
        found = paper_task(edit.base_model.id, edit.task.name)
        assert found is not None
        assert found.accuracies[edit.metadata["preset"]] == pytest.approx(edit.results.reported.edited)
        assert set(found.accuracies) <= set(PRESETS)


@pytest.mark.parametrize(("base", "task"), [("EleutherAI/gpt-j-6b", "cti_capitals"), ("other/model", "cti_fever")])
def test_other_tasks_and_models_are_not_the_papers(base: str, task: str) -> None:
    assert paper_task(base, task) is None
