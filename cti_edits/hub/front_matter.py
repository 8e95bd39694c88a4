"""The front matter of an edit's README.md, which the hub reads."""

from __future__ import annotations

from typing import Any

from cti_edits.artifact.manifest import Edit

RELATION = "adapter"
"""To the base model, of the relations that the hub knows: a small file that needs it and leaves it as it is."""
TAGS = ("cti-edits", "lm-evaluation-harness", "svd")


def front_matter(edit: Edit, license: str | None) -> str:  # noqa: A002 (the hub's name for it)
    """YAML: base model, relation, tags, data set, licence, and what was measured on the test part.

    Args:
        edit: what the card is of.
        license: the hub's name of a licence, "apache-2.0"; left out if None.
    """
    from huggingface_hub import ModelCardData

    rows_id = edit.task.dataset.id if edit.task else None
    card = ModelCardData(
        base_model=edit.base_model.id,
        base_model_relation=RELATION,
        library_name="cti-edits",
        tags=list(TAGS),
        datasets=[rows_id] if rows_id and rows_id.count("/") == 1 else None,
        license=license,
        model_name=edit.name,
        eval_results=_results(edit),
    )
    return str(card.to_yaml())


def _results(edit: Edit) -> list[Any] | None:
    """The test part alone: the calibration rows chose the edit, so that its accuracy on them flatters it."""
    from huggingface_hub import EvalResult

    measured = edit.results.test
    if measured is None or edit.task is None:
        return None
    data = edit.task.dataset
    return [
        EvalResult(
            task_type="fill-mask" if edit.base_model.architecture.endswith("ForMaskedLM") else "text-generation",
            task_name=edit.task.name,
            dataset_type=data.id or edit.task.name,
            dataset_name=edit.task.name,
            dataset_split=data.split,
            dataset_revision=data.revision,
            metric_type=metric_name(edit),
            metric_name=name,
            metric_value=value,
        )
        for value, name in (
            (measured.edited, f"{metric_name(edit)} with the edit"),
            (measured.baseline, f"{metric_name(edit)} of the base model"),
            (measured.majority_class, "share of the most frequent answer"),
        )
    ]


def metric_name(edit: Edit) -> str:
    """The hub's name for lm-eval's ``acc``; other metrics have one name in both."""
    name = edit.task.metric if edit.task else "acc"
    return "accuracy" if name == "acc" else name
