"""Held-out results in the format of Every Eval Ever, judged by its own schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.records import Measurement, Results
from cti_edits.errors import EditError
from cti_edits.report.every_eval_ever import evaluations, write_evaluations
from cti_edits.stats import wilson_interval
from tests.conftest import ROOT
from tests.support.edits import EDIT_2

SCHEMA = json.loads((ROOT / "tests" / "data" / "every-eval-ever-0.3.0.schema.json").read_text("utf-8"))
TEST = Measurement(200, 0.255, 0.485, 0.3, 2.5, 1.9, (0.159, 0.296), 1.2e-10)
NAMES = ("edit.json", "someone/edited", "example/base")


def edit(test: Measurement | None = TEST, **changes: Any) -> Edit:
    found = load(EDIT_2 / "every_part.json")
    results = Results(calibration=found.results.calibration, test=test)
    return dataclasses.replace(found, results=results, **changes)


def records(found: Edit) -> dict[str, Any]:
    """By the model, what is written, checked."""
    made = evaluations(found, *NAMES, now=1_700_000_000)
    for record in made.values():
        jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(record)
        json.dumps(record, allow_nan=False)
    return {str(place.parent.parent.name + "/" + place.parent.name): record for place, record in made.items()}


def test_each_model_has_what_the_manifest_has_of_it() -> None:
    found = records(edit())
    assert set(found) == {"example/base", "someone/edited"}
    for name, share, nll in (("example/base", TEST.baseline, 2.5), ("someone/edited", TEST.edited, 1.9)):
        accuracy, gold = found[name]["evaluation_results"]
        assert accuracy["score_details"]["score"] == share
        low, high = wilson_interval(round(share * 200), 200)
        interval = accuracy["score_details"]["uncertainty"]["confidence_interval"]
        assert (interval["lower"], interval["upper"], interval["confidence_level"]) == (low, high, 0.95)
        assert accuracy["score_details"]["uncertainty"]["num_samples"] == 200
        assert gold["score_details"]["score"] == nll
        assert gold["metric_config"]["lower_is_better"]
    details = found["someone/edited"]["model_info"]["additional_details"]
    assert details["edit_digest"] == edit().digest()
    assert details["base_model"] == "example/base"
    beside = found["someone/edited"]["evaluation_results"][0]["score_details"]["details"]
    assert beside["verdict"].startswith("better: ")
    assert json.loads(beside["difference_ci95"]) == [0.159, 0.296]


def test_rows_that_share_a_record_have_no_interval_of_independent_ones() -> None:
    found = records(edit(dataclasses.replace(TEST, records=80, baseline_nll=None, edited_nll=None)))
    (accuracy,) = found["someone/edited"]["evaluation_results"]
    assert set(accuracy["score_details"]["uncertainty"]) == {"num_samples"}
    assert accuracy["score_details"]["details"]["records"] == "80"


def test_hostile_texts_stay_texts() -> None:
    found = load(EDIT_2 / "every_part.json")
    assert found.task is not None
    task = dataclasses.replace(found.task, name="../../<script>\x1b", metric='acc,"<b>')
    made = evaluations(edit(task=task, name="</script>"), *NAMES, now=1)
    for place, record in made.items():
        assert ".." not in place.parts
        assert "/" not in place.parts[1]
        jsonschema.Draft7Validator(SCHEMA).validate(record)


@pytest.mark.parametrize(
    ("test", "repository", "model", "message"),
    [
        (None, "a/b", "c/d", "edit.json: records no results on rows that its search did not see"),
        (TEST, None, "c/d", "repository: every-eval-ever wants the owner/name of the edited model"),
        (TEST, "b", "c/d", "repository: every-eval-ever wants the owner/name of the edited model, got 'b'"),
        (TEST, "a/b", "/tmp/model", "model: every-eval-ever wants the owner/name of the base model, got '/tmp/model'"),
        (TEST, "a/b", "a/b", "repository: expected another name than that of the base model, a/b"),
    ],
)
def test_what_it_lacks_is_said(
    test: Measurement | None, repository: str | None, model: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(EditError) as refused:
        write_evaluations(edit(test), "edit.json", repository, model, tmp_path / "out")
    assert str(refused.value) == message
    assert list(tmp_path.iterdir()) == []


def test_the_files_lie_where_the_collection_has_them(tmp_path: Path) -> None:
    written = write_evaluations(edit(), *NAMES, tmp_path / "out")
    assert [path.relative_to(tmp_path).parts[:2] for path in written] == [("out", "data")] * 2
    assert [path.parts[-3:-1] for path in written] == [("example", "base"), ("someone", "edited")]
    assert all(json.loads(path.read_text())["schema_version"] == "0.3.0" for path in written)
    with pytest.raises(EditError, match="expected a folder that is not there yet, or is empty"):
        write_evaluations(edit(), *NAMES, tmp_path / "out")
