"""The front matter of an edit's README.md, as the hub's own client reads it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import DatasetRecord, TaskRecord
from cti_edits.hub.front_matter import front_matter, metric_name
from tests.support.edits import EDIT_1

EDIT = load(EDIT_1 / "two_matrices.json")


def read(edit: Edit, licence: str | None = None) -> Any:
    text = f"---\n{front_matter(edit, licence)}\n---\n# card\n"
    assert yaml.safe_load(text.split("---\n")[1])
    return ModelCard(text).data


def test_the_base_the_relation_and_the_licence() -> None:
    data = read(EDIT, "mit")
    assert (data.base_model, data.base_model_relation) == (EDIT.base_model.id, "adapter")
    assert (data.library_name, data.license) == ("cti-edits", "mit")
    assert "cti-edits" in data.tags
    assert read(EDIT).license is None


def test_the_test_part_is_told_and_the_rows_that_chose_the_edit_are_not() -> None:
    results, test = read(EDIT).eval_results, EDIT.results.test
    assert test is not None
    assert [one.metric_value for one in results] == [test.edited, test.baseline, test.majority_class]
    assert {one.metric_type for one in results} == {"accuracy"}
    assert {one.task_type for one in results} == {"text-generation"}
    calibrated = dataclasses.replace(EDIT, results=dataclasses.replace(EDIT.results, test=None))
    assert EDIT.results.calibration is not None
    assert read(calibrated).eval_results is None
    assert read(dataclasses.replace(EDIT, task=None)).eval_results is None


def test_a_masked_model_fills_masks() -> None:
    base = dataclasses.replace(EDIT.base_model, architecture="RobertaForMaskedLM")
    assert read(dataclasses.replace(EDIT, base_model=base)).eval_results[0].task_type == "fill-mask"


@pytest.mark.parametrize(
    ("given", "named"),
    [("EleutherAI/fever", ["EleutherAI/fever"]), ("capitals.jsonl", None), ("a/b/c.jsonl", None), (None, None)],
)
def test_a_data_set_is_named_where_the_hub_has_one(given: str | None, named: list[str] | None) -> None:
    task = TaskRecord("cti_fever", DatasetRecord(given, revision=None, split=None), "acc")
    assert read(dataclasses.replace(EDIT, task=task)).datasets == named
    assert read(dataclasses.replace(EDIT, task=None)).datasets is None


@pytest.mark.parametrize(("metric", "name"), [("acc", "accuracy"), ("exact_match", "exact_match")])
def test_the_hub_calls_acc_accuracy(metric: str, name: str) -> None:
    assert EDIT.task is not None
    task = dataclasses.replace(EDIT.task, metric=metric)
    assert metric_name(dataclasses.replace(EDIT, task=task)) == name
    assert metric_name(dataclasses.replace(EDIT, task=None)) == "accuracy"
