"""Which examples of a task a search works on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.tasks import load_task
from cti_edits.search.examples import examples
from cti_edits.search.settings import Part, SearchSettings
from tests.support.small_tasks import write_task

CHOICE = 'doc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\n'


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Ten rows to search on."""
    folder: Path = tmp_path_factory.mktemp("tasks")
    return load_task(write_task(folder, "ten", more="validation_split: validation\n" + CHOICE), str(folder))


EVERY = tuple(range(10))


@pytest.mark.parametrize(
    ("gradients_on", "evaluated_on", "gradients", "evaluations"),
    [
        ("sample", "sample", 4, 4),
        ("sample", "validation", 4, 10),
        ("validation", "sample", 10, 4),
        ("validation", "validation", 10, 10),
    ],
)
def test_each_has_the_part_that_the_settings_name(
    gradients_on: Part, evaluated_on: Part, gradients: int, evaluations: int, task: Any
) -> None:
    settings = SearchSettings(samples=4, gradients_on=gradients_on, evaluated_on=evaluated_on)
    found = examples(task, settings)
    assert (len(found.gradients.doc_ids), len(found.evaluations.doc_ids)) == (gradients, evaluations)
    for part in (found.gradients, found.evaluations):
        assert set(part.doc_ids) <= set(EVERY)
        assert len(part.doc_ids) < 10 or part.doc_ids == EVERY


def test_a_part_is_drawn_once_and_is_one_and_the_same(task: Any) -> None:
    """Twice the work and the memory, else; and two draws could differ."""
    for part in ("sample", "validation"):
        settings = SearchSettings(samples=4, gradients_on=part, evaluated_on=part)
        found = examples(task, settings)
        assert found.gradients is found.evaluations


def test_without_gradients_nothing_is_drawn_for_them(task: Any) -> None:
    """More samples than there are rows would be refused."""
    settings = SearchSettings(samples=100, top_q=None, evaluated_on="validation")
    found = examples(task, settings)
    assert found.gradients is found.evaluations
    assert found.evaluations.doc_ids == EVERY
    with pytest.raises(EditError, match="samples: expected at most 10"):
        examples(task, dataclasses.replace(settings, top_q=5))


def test_seed_prompting_and_metric_reach_both_parts(task: Any) -> None:
    settings = SearchSettings(samples=4, evaluated_on="validation", seed=1)
    found = examples(task, settings, Prompting(system_instruction="Be brief."), "acc")
    assert found.gradients.doc_ids != examples(task, dataclasses.replace(settings, seed=2)).gradients.doc_ids
    for part in (found.gradients, found.evaluations):
        assert all(gold.context.startswith("Be brief.") for gold in part.gold)
        assert part.metric.name == "acc"
    with pytest.raises(EditError, match="metric"):
        examples(task, settings, metric="no_such_metric")
