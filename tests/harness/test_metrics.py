"""Which metric a search ranks by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.harness.calibration import draw
from cti_edits.harness.metrics import Metric, is_right, metric_of
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.task import LoggedSample
from cti_edits.harness.tasks import load_task
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import lm_of
from tests.support.small_tasks import write_task

BOTH = """validation_split: validation
doc_to_choice: ["moo", "a woof"]
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
FILTERED = """validation_split: validation
doc_to_target: "{{answer}}"
generation_kwargs: {max_gen_toks: 3, until: []}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: nothing
    filter: [{function: regex, regex_pattern: "(never)"}, {function: take_first}]
  - name: any
    filter: [{function: regex, regex_pattern: "(?s)(.*)"}, {function: take_first}]
"""


def task_of(folder: Path, name: str, more: str, output_type: str = "multiple_choice") -> Any:
    return load_task(write_task(folder, name, output_type, more=more), str(folder))


def test_acc_else_the_first_that_is_right_or_wrong(tmp_path: Path) -> None:
    both = task_of(tmp_path, "both", BOTH)
    assert metric_of(both) == Metric("acc", "none")
    assert metric_of(both, "acc_norm") == Metric("acc_norm", "none")
    written = task_of(tmp_path, "written", FILTERED, "generate_until")
    assert metric_of(written) == Metric("exact_match", "nothing")
    assert metric_of(written, "exact_match,any") == Metric("exact_match", "any")
    assert str(metric_of(written, "exact_match,any")) == "exact_match,any"
    for wanted, message in (
        ("acc", "there is no 'acc'; this task has exact_match"),
        ("exact_match,x", "no filter 'x'"),
        ("exactmatch", "there is no 'exactmatch' \\(did you mean exact_match.\\); this task has"),
        ("balanced_acc", "there is no 'balanced_acc' \\(did you mean balanced.\\); this task has"),
    ):
        with pytest.raises(EditError, match=message):
            metric_of(written, wanted)


@pytest.mark.parametrize("value", [0.5, None, "1", "missing"])
def test_a_value_between_right_and_wrong_names_row_and_metric(value: object) -> None:
    with pytest.raises(EditError, match="a metric 'f1' that is 0 or 1 for each example; on row 7"):
        is_right(LoggedSample(7, (), {"f1": value}), "f1")
    assert [is_right(LoggedSample(7, (), {"f1": one}), "f1") for one in (0, 1.0, True)] == [False, True, True]


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_both_evaluators_rank_by_the_metric(metric: str, tmp_path: Path) -> None:
    task, lm = task_of(tmp_path, "both", BOTH), lm_of("gptj")
    calibration = draw(task, 9, 0, metric=metric)
    ours, theirs = ReplayEvaluator(lm, calibration).evaluate(), ReferenceEvaluator(lm, calibration).evaluate()
    assert ours is not None
    assert ours.correct == theirs.correct
    other = ReferenceEvaluator(lm, draw(task, 9, 0, metric="acc_norm" if metric == "acc" else "acc")).evaluate()
    assert other.correct != theirs.correct


def test_the_filter_that_was_chosen_counts(tmp_path: Path) -> None:
    """What the model writes is an answer to itself: right under the one filter, and nothing under the other."""
    task, lm = task_of(tmp_path, "written", FILTERED, "generate_until"), lm_of("gptj")
    for name in ("exact_match,any", "exact_match,nothing"):
        calibration = draw(task, 5, 0, metric=name)
        ours, theirs = ReplayEvaluator(lm, calibration).evaluate(), ReferenceEvaluator(lm, calibration).evaluate()
        assert ours is not None
        assert ours.correct == theirs.correct


def test_the_manifest_records_the_metric(tmp_path: Path) -> None:
    settings = SearchSettings(samples=5, top_q=1, clusters=(1,), rates=(0.5,))
    found = {}
    for name in ("acc", "acc_norm"):
        calibration = draw(task_of(tmp_path, "both", BOTH), 5, 0, metric=name)
        edit = run_search(lm_of("gptj"), calibration, settings, "tiny", "tiny").edit
        assert edit.task is not None
        assert edit.search is not None
        assert edit.search.asked is not None
        found[name] = edit.task.metric, edit.search.asked.task.metric, edit.digest()
    assert found["acc"][:2] == ("acc", "acc")
    assert found["acc_norm"][:2] == ("acc_norm", "acc_norm")
    assert found["acc"][2] != found["acc_norm"][2]
