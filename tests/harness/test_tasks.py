"""Finding and loading a task by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from cti_edits.errors import EditError
from cti_edits.harness.tasks import load_task, refuse_other_kind
from tests.support.benchmark_files import write_local
from tests.support.small_tasks import write_task

CHOICE = 'doc_to_choice: ["moo", "woof"]\ndoc_to_target: gold\n'


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("CTI_EDITS_DATA", str(write_local(folder)))
    return folder


def test_an_unknown_task_gets_the_nearest_names() -> None:
    with pytest.raises(EditError, match=r"^no task is called 'cti_fevre'; did you mean cti_fever\b"):
        load_task("cti_fevre")


def test_a_group_is_no_task_and_is_not_loaded(data: Path) -> None:
    (data / "fever.jsonl").unlink()
    with pytest.raises(EditError, match=r"cti_eight is a group of tasks; .* such as cti_counterfact"):
        load_task("cti_eight")


def test_an_include_path_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"include_path: .*nothing: expected a folder"):
        load_task("fever", str(tmp_path / "nothing"))


def test_a_task_that_cannot_be_loaded_is_one_line(tmp_path: Path, data: Path) -> None:
    name = write_task(tmp_path, "unreachable", more=CHOICE + "custom_dataset: !function ROWS.broken\n")
    with pytest.raises(EditError) as raised:
        load_task(name, str(tmp_path))
    assert str(raised.value) == "cannot load the task unreachable (ConnectionError: no route to host)"
    (data / "fever.jsonl").unlink()
    with pytest.raises(EditError, match=r"fever\.jsonl: no such file"):
        load_task("fever")


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("fever", "causal", "cti_fever"),
        ("fever", "masked", "cti_fever_masked"),
        ("cti_fever_masked", "masked", "cti_fever_masked"),
        ("epistemic_reasoning", "masked", "cti_epistemic_reasoning"),
        ("cti_epistemic_reasoning", "causal", "cti_epistemic_reasoning"),
        ("capitals", "masked", "cti_capitals"),
    ],
)
def test_a_bare_name_finds_the_task_for_the_model(name: str, kind: Any, found: str) -> None:
    assert load_task(name, kind=kind).config.task == found


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("cti_fever", "masked", "cti_fever is for causal language models and this one is masked; use cti_fever_masked"),
        ("cti_fever_masked", "causal", "cti_fever_masked is for masked .* this one is causal; use cti_fever$"),
        ("fever_masked", "causal", "cti_fever_masked is for masked"),
    ],
)
def test_a_task_for_the_other_kind_of_model_is_refused(name: str, kind: Any, message: str) -> None:
    with pytest.raises(EditError, match=message):
        load_task(name, kind=kind)


def test_requests_of_a_bundled_task_for_the_other_kind_are_refused() -> None:
    causal, masked, another = (
        [Instance("loglikelihood", {}, ("a", "b"), 0, (name, 0, 1))]
        for name in ("cti_fever", "cti_fever_masked", "some_task_masked")
    )
    refuse_other_kind([*causal, *another], "causal")
    refuse_other_kind(masked, "masked")
    with pytest.raises(EditError, match=r"^cti_fever is for causal .* is masked; use cti_fever_masked$"):
        refuse_other_kind(causal, "masked")
    with pytest.raises(EditError, match=r"^cti_fever_masked is for masked .*; use cti_fever$"):
        refuse_other_kind([*causal, *masked], "causal")
