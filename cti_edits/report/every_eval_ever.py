"""What was measured on held-out rows in the format of Every Eval Ever, https://evalevalai.com (schema 0.3.0).

A file for each of the two models that were measured, the base model and the edited one, where the project's collection
has it: ``data/TASK/OWNER/NAME/UUID.json``. A manifest has no answers to single rows, so that there is no file of these.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement, Results, TaskRecord
from cti_edits.errors import EditError, printable
from cti_edits.files import atomic_folder
from cti_edits.hub.references import is_hub_id
from cti_edits.stats import wilson_interval

SCHEMA_VERSION = "0.3.0"
HARNESS = "lm-evaluation-harness"
"""Its name in the project's registry, before the names of metrics that the registry has not."""

METRICS = {"acc": "accuracy", "exact_match": "exact-match"}
"""Names of lm-eval's metrics in that registry."""

NOT_IN_PATHS = re.compile(r'[<>:"\\|?*/\x00-\x1f]|[. ]$')

Json = dict[str, object]


@dataclass(frozen=True)
class _Evaluated:
    """One of the two models.

    Attributes:
        id: ``owner/name``.
        accuracy: on the held-out rows.
        nll: of the gold answers there, where it was measured.
        facts: what else there is to say of the model.
        details: what else there is to say of the accuracy.
    """

    id: str
    accuracy: float
    nll: float | None
    facts: Mapping[str, str | None]
    details: Mapping[str, object]


def write_evaluations(edit: Edit, name: str, repository: str | None, model: str | None, out: Path) -> list[Path]:
    """Write the held-out results of an edit and of its base model into a new folder, and return the files' paths.

    Args:
        edit: what was measured.
        name: what messages call it.
        repository: ``owner/name`` of the edited model; the owner is who measured.
        model: likewise of the base model; None: as the edit has it.
        out: a folder that is not there yet, or is empty. It appears when it is complete.

    Raises:
        EditError: a name is missing or is none, nothing was measured on held-out rows, or ``out`` cannot be written.
    """
    records = evaluations(edit, name, repository, model, int(time.time()))
    with atomic_folder(out) as folder:
        for place, record in records.items():
            (folder / place).parent.mkdir(parents=True)
            (folder / place).write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return [out / place for place in records]


def evaluations(
    edit: Edit, name: str, repository: str | None, model: str | None, now: int
) -> dict[PurePosixPath, Json]:
    """The objects, by the path of the file that each belongs to; see `write_evaluations`.

    Args:
        edit: what was measured.
        name: what messages call it.
        repository: of the edited model.
        model: the base model.
        now: seconds since 1970.
    """
    task, measured = edit.task, edit.results.test
    if task is None or measured is None:
        raise EditError(f"{name}: records no results on rows that its search did not see")
    edited_id = _named("repository", repository, "of the edited model")
    base_id = _named("model", model or edit.base_model.id, "of the base model")
    if edited_id == base_id:
        raise EditError(f"repository: expected another name than that of the base model, {base_id}")
    found: dict[PurePosixPath, Json] = {}
    for one in _models(edit, measured, base_id, edited_id):
        unique = uuid.UUID(bytes=hashlib.sha256(f"{edit.digest()} {one.id}".encode()).digest()[:16], version=4)
        place = PurePosixPath("data", NOT_IN_PATHS.sub("_", task.name), one.id, f"{unique}.json")
        found[place] = _log(edit, task, measured, one, edited_id.split("/")[0], now)
    return found


def _named(what: str, given: str | None, whose: str) -> str:
    """``given``, if it is an ``owner/name``."""
    if given is None:
        raise EditError(f"{what}: every-eval-ever wants the owner/name {whose}")
    if "/" not in given or not is_hub_id(given):
        raise EditError(f"{what}: every-eval-ever wants the owner/name {whose}, got {printable(given)!r}")
    return given


def _models(edit: Edit, measured: Measurement, base_id: str, edited_id: str) -> tuple[_Evaluated, _Evaluated]:
    base = edit.base_model
    of_base = {
        "architecture": base.architecture,
        "dtype": base.dtype,
        "revision": base.revision if base_id == base.id else None,
    }
    of_edited = {
        "architecture": base.architecture,
        "dtype": base.dtype,
        "base_model": base_id,
        "base_model_revision": of_base["revision"],
        "edit": edit.name,
        "edit_digest": edit.digest(),
        "edited_matrices": ", ".join(one.matrix_name for one in edit.edits),
    }
    return (
        _Evaluated(base_id, measured.baseline, measured.baseline_nll, of_base, {}),
        _Evaluated(edited_id, measured.edited, measured.edited_nll, of_edited, _beside(edit.results, measured)),
    )


def _beside(results: Results, measured: Measurement) -> dict[str, object]:
    """What the accuracy of the edited model is to be read beside."""
    verdict = measured.verdict()
    return {
        "base_model_accuracy": measured.baseline,
        "difference_ci95": measured.ci95,
        "mcnemar_p_value": measured.p_value,
        "verdict": verdict and f"{verdict.word}: {verdict.reason}",
        "random_edits_accuracy": results.control and results.control.edited,
        "label_bias_corrected_accuracy": results.label_bias and results.label_bias.corrected,
    }


def _log(edit: Edit, task: TaskRecord, measured: Measurement, one: _Evaluated, owner: str, now: int) -> Json:
    versions = edit.provenance.versions
    timestamp = _timestamp(edit.provenance.created)
    first_party = one.id.split("/")[0] == owner
    facts = {"deployment_type": "self_deployed", "model_availability": "unknown", **one.facts}
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{task.name}/{one.id}/{now}",
        **_known({"evaluation_timestamp": timestamp}),
        "retrieved_timestamp": str(now),
        "source_metadata": {
            "source_name": "cti-edits",
            "source_type": "evaluation_run",
            "source_organization_name": owner,
            "evaluator_relationship": "first_party" if first_party else "third_party",
        },
        "eval_library": {
            "name": "lm_eval",
            "version": versions.get("lm_eval", "unknown"),
            "additional_details": _texts({"run_by": edit.provenance.tool, "device": edit.provenance.device}),
        },
        "model_info": {
            "name": one.id,
            "id": one.id,
            "developer": one.id.split("/")[0],
            "inference_engine": {"name": "transformers", **_known({"version": versions.get("transformers")})},
            "additional_details": _texts(facts),
        },
        "evaluation_results": _results(edit, task, measured, one),
    }


def _results(edit: Edit, task: TaskRecord, measured: Measurement, one: _Evaluated) -> list[Json]:
    metric, _, chosen_filter = task.metric.partition(",")
    shared = {
        "evaluation_name": task.name + (f"/{chosen_filter}" if chosen_filter else ""),
        "source_data": _source(edit, task, measured),
        **_generation(edit.search.asked if edit.search else None),
    }
    found: list[Json] = [
        {
            "evaluation_result_id": metric + (f":{chosen_filter}" if chosen_filter else ""),
            **shared,
            "metric_config": {
                "metric_id": METRICS.get(metric, f"{HARNESS}.{metric}"),
                "metric_name": metric,
                "metric_kind": "accuracy",
                "metric_unit": "proportion",
                **_range(lower_is_better=False, largest=1),
            },
            "score_details": _accuracy(measured, one),
        }
    ]
    if one.nll is not None:
        found.append(
            {
                "evaluation_result_id": "gold_nll",
                **shared,
                "metric_config": {
                    "evaluation_description": "Mean over rows of the mean negative log-likelihood of the gold "
                    "answer's tokens",
                    "metric_id": "cti-edits.gold_nll",
                    "metric_name": "gold_nll",
                    "metric_unit": "nats",
                    **_range(lower_is_better=True, largest="Infinity"),
                },
                "score_details": {"score": one.nll, "uncertainty": {"num_samples": measured.n}},
            }
        )
    return found


def _range(lower_is_better: bool, largest: float | str) -> Json:
    return {"lower_is_better": lower_is_better, "score_type": "continuous", "min_score": 0, "max_score": largest}


def _accuracy(measured: Measurement, one: _Evaluated) -> Json:
    """The score, with the interval and the error of independent rows where the rows are such."""
    n, share = measured.n, one.accuracy
    uncertainty: Json = {"num_samples": n}
    if measured.records is None:
        low, high = wilson_interval(round(share * n), n)
        uncertainty["confidence_interval"] = {
            "lower": low,
            "upper": high,
            "confidence_level": 0.95,
            "method": "Wilson",
        }
        if n > 1:
            error = math.sqrt(share * (1 - share) / (n - 1))
            uncertainty["standard_error"] = {"value": error, "method": "analytic"}
    details = {"majority_class": measured.majority_class, "records": measured.records, **one.details}
    return {"score": share, "details": _texts(details), "uncertainty": uncertainty}


def _source(edit: Edit, task: TaskRecord, measured: Measurement) -> Json:
    place = task.dataset.id
    on_the_hub = place is not None and "/" in place and is_hub_id(place)
    seed = edit.search and edit.search.seed
    details = {
        "dataset": None if on_the_hub else place,
        "revision": task.dataset.revision,
        "rows": f"{measured.n} of the task's test part, which the search that found the edit did not see",
        "seed": seed,
    }
    return {
        "dataset_name": task.name,
        "source_type": "hf_dataset" if on_the_hub else "other",
        **({"hf_repo": place} if on_the_hub else {}),
        "additional_details": _texts(details),
    }


def _generation(asked: Asked | None) -> Json:
    """How the model was asked."""
    if asked is None:
        return {}
    details = _texts({**vars(asked.prompt), "task_version": asked.task.version})
    return {"generation_config": {"additional_details": details}} if details else {}


def _known(values: Mapping[str, object]) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _texts(values: Mapping[str, object]) -> Json:
    """The values that are known, as the texts that the format wants; what is none, as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in _known(values).items()}


def _timestamp(created: str | None) -> str | None:
    """Seconds since 1970, where the manifest says when, and there is such a day."""
    try:
        return (
            None if created is None else str(int(datetime.datetime.fromisoformat(f"{created[:-1]}+00:00").timestamp()))
        )
    except ValueError:
        return None
