"""The function around lm-eval's evaluator, by which a model of ours learns what is about to be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval.evaluator
import pytest
from lm_eval.api.model import LM
from lm_eval.models.dummy import DummyLM

from cti_edits.harness.evaluator_hook import tasks_in, wrap_evaluate
from cti_edits.harness.tasks import load_task
from tests.support.small_tasks import write_task


@pytest.fixture
def task(tmp_path: Path) -> Any:
    return load_task(write_task(tmp_path, "small"), str(tmp_path))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """lm-eval's own function, whatever another test has installed around it; back as it was in the end."""
    function = lm_eval.evaluator.evaluate
    plain = getattr(function, "__wrapped__", function)
    monkeypatch.setattr(lm_eval.evaluator, "evaluate", plain)
    return plain


def test_tasks_are_found_by_kind_and_nested_by_group(task: Any) -> None:
    assert list(tasks_in({"small": task})) == [("small", task)]
    assert list(tasks_in({"group": {"inner": {"a": task}, "b": task}, "c": task})) == [
        ("a", task), ("b", task), ("c", task)
    ]  # fmt: skip
    assert list(tasks_in(None)) == list(tasks_in({"group": {}})) == []


def test_it_is_installed_once(plain: Any) -> None:
    wrap_evaluate()
    around = lm_eval.evaluator.evaluate
    assert around is not plain
    wrap_evaluate()
    assert lm_eval.evaluator.evaluate is around


class Told(DummyLM):  # type: ignore[misc]
    """lm-eval's own model, that takes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[list[str], bool]] = []

    def before_evaluation(self, tasks: dict[str, Any], multiturn: bool) -> None:
        self.told.append((list(tasks), multiturn))


@pytest.mark.parametrize("by_name", [False, True])
def test_a_model_is_told_before_it_is_asked_however_lm_eval_passes_it(by_name: bool, task: Any, plain: Any) -> None:
    wrap_evaluate()
    lm = Told()
    given: dict[str, Any] = {"limit": 2, "bootstrap_iters": 0}
    if by_name:
        results = lm_eval.evaluator.evaluate(lm=lm, task_dict={"small": task}, fewshot_as_multiturn=True, **given)
    else:
        results = lm_eval.evaluator.evaluate(lm, {"small": task}, **given)
    assert lm.told == [(["small"], by_name)]
    assert results["n-samples"]["small"]["effective"] == 2


def test_runs_of_other_models_go_on_as_before(task: Any, plain: Any) -> None:
    wrap_evaluate()
    lm: LM = DummyLM()
    results = lm_eval.evaluator.evaluate(lm, {"small": task}, bootstrap_iters=0)
    assert results["n-samples"]["small"]["effective"] == 10
