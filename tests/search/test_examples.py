"""Which examples of a task a search works on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from cti_edits.errors import EditError
from cti_edits.harness.own_rows import OwnRows, own_rows
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.tasks import load_task
from cti_edits.search.examples import examples, searched_task
from cti_edits.search.settings import HeldOut, Part, SearchSettings
from tests.support.small_searches import Notes
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


def test_the_test_part_is_there_where_it_is_asked_for(task: Any) -> None:
    settings = SearchSettings(samples=4)
    assert examples(task, settings).test is None
    found = examples(task, settings, Prompting(system_instruction="Be brief."), held_out=3)
    assert found.test is not None
    assert len(found.test.doc_ids) == 3
    assert found.test.doc_ids == tuple(sorted(found.test.doc_ids))
    assert found.test.doc_ids == examples(task, settings, held_out=3).test.doc_ids  # type: ignore[union-attr]
    draws = {examples(task, dataclasses.replace(settings, seed=s), held_out=3).test.doc_ids for s in range(5)}  # type: ignore[union-attr]
    assert len(draws) > 1
    everything = examples(task, settings, held_out="all").test
    assert everything is not None
    assert set(found.test.doc_ids) < set(everything.doc_ids)
    assert found.test.dataset.split == "test"
    assert all(gold.context.startswith("Be brief.") for gold in found.test.gold)


def test_where_nothing_is_left_to_measure_on_a_search_goes_on_and_says_why(tmp_path: Path) -> None:
    """Unless a number of rows was asked for."""
    task = load_task(write_task(tmp_path, "withheld", more="validation_split: validation\n" + CHOICE), str(tmp_path))
    rows: Any = task.dataset
    rows["test"] = Dataset.from_list([{**row, "gold": 7} for row in rows["test"]])
    found = examples(task, SearchSettings(samples=4), held_out=None)
    assert found.test is None
    notes = Notes()
    found.say_untested(notes)
    (line,) = notes.lines
    assert line.startswith("not measured on rows that the search did not see: withheld: a row has no gold answer")
    with pytest.raises(EditError, match="no gold answer"):
        examples(task, SearchSettings(samples=4), held_out=5)


def rows_of(*prompts: str) -> OwnRows:
    return own_rows([{"prompt": prompt, "answer": prompt[::-1]} for prompt in prompts], "rows")


ANIMALS = rows_of("cat", "dog", "owl", "cow", "pig")


def test_rows_of_ones_own_are_drawn_from_and_the_others_are_the_test_part() -> None:
    loaded, settings = searched_task(ANIMALS, SearchSettings(samples=2), held_out=None)
    assert settings.samples == 2
    found = examples(loaded, settings, held_out=None)
    assert found.test is not None
    prompts = [{gold.context for gold in part.gold} for part in (found.evaluations, found.test)]
    assert [len(part) for part in prompts] == [2, 3]
    assert prompts[0] | prompts[1] == {"cat", "dog", "owl", "cow", "pig"}


def test_where_every_row_is_drawn_more_are_needed_to_measure_on() -> None:
    loaded, settings = searched_task(ANIMALS, SearchSettings(samples=100), held_out=None)
    assert settings.samples == 5
    found = examples(loaded, settings, held_out=None)
    assert (found.test, found.untested) == (None, "rows: its test part has no rows that the search did not see")
    wanted: tuple[HeldOut, ...] = (3, "all")
    for asked in wanted:
        with pytest.raises(
            EditError, match=r"^held_out: every row was drawn and none is left to .* others \(test_rows\)$"
        ):
            searched_task(ANIMALS, SearchSettings(samples=100), held_out=asked)
    loaded, settings = searched_task(ANIMALS, settings, test_rows=rows_of("hen", "ewe"), held_out=None)
    found = examples(loaded, settings, held_out=None)
    assert found.test is not None
    assert [gold.context for gold in found.test.gold] == ["hen", "ewe"]


def test_a_task_by_its_name_keeps_the_settings() -> None:
    settings = SearchSettings(samples=100)
    loaded, same = searched_task("capitals", settings)
    assert (loaded.config.task, same) == ("cti_capitals", settings)
