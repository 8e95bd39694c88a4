"""A calibration set's examples as lm-eval sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cti_edits.harness.calibration import draw, load_task
from cti_edits.harness.documents import Documents
from tests.support.small_searches import choices
from tests.support.small_tasks import write_task


def test_every_example_has_its_own_requests_in_their_order(tmp_path: Path) -> None:
    calibration = choices(tmp_path)
    documents = Documents(calibration)
    assert documents.doc_ids == calibration.doc_ids
    assert len(documents.instances) == 7
    rows = list(calibration.task.eval_docs)
    for doc_id, group in zip(documents.doc_ids, documents.instances, strict=True):
        assert [instance.args for instance in group] == [
            (f"{rows[doc_id]['text']} says", " moo"), (f"{rows[doc_id]['text']} says", " woof")
        ]  # fmt: skip


@pytest.mark.parametrize(("scores", "label"), [((-1.0, -2.0), 0), ((-2.0, -1.0), 1)])
def test_the_metric_is_the_tasks_own(scores: tuple[float, float], label: int, tmp_path: Path) -> None:
    calibration = choices(tmp_path)
    documents = Documents(calibration)
    golds = [row["gold"] for row in calibration.task.eval_docs]
    for index, doc_id in enumerate(calibration.doc_ids):
        sample = documents.sample(index, [(score, False) for score in scores])
        assert sample["doc_id"] == doc_id
        assert sample["filtered_resps"] == [(scores[0], False), (scores[1], False)]
        assert sample["acc"] == float(golds[doc_id] == label)


def test_an_example_can_be_judged_again(tmp_path: Path) -> None:
    documents = Documents(choices(tmp_path))
    responses = [(-1.0, False), (-2.0, False)]
    first = documents.sample(0, responses)
    assert documents.sample(0, responses[::-1])["acc"] == 1 - first["acc"]
    assert documents.sample(0, responses) == first


def test_responses_go_through_the_filter_of_the_metric(tmp_path: Path) -> None:
    more = """validation_split: validation
doc_to_target: answer
generation_kwargs: {until: ["z"]}
metric_list: [{metric: exact_match}]
filter_list:
  - name: last
    filter: [{function: regex, regex_pattern: "(\\\\w+)$"}, {function: take_first}]
  - name: first
    filter: [{function: regex, regex_pattern: "^(\\\\w+)"}, {function: take_first}]
"""
    name = write_task(tmp_path, "filtered", "generate_until", more=more)
    path = tmp_path / f"{name}.yaml"
    path.write_text(
        path.read_text().replace(
            "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n", ""
        )
    )
    task = load_task(name, str(tmp_path))
    for filter_name, text, right in (("last", "a cat", 1.0), ("first", "a cat", 0.0), ("first", "cat or so", 1.0)):
        calibration = draw(task, 10, 0, metric=f"exact_match,{filter_name}")
        index = [row["answer"] for row in calibration.task.eval_docs].index("cat")
        assert Documents(calibration).sample(index, [text])["exact_match"] == right
