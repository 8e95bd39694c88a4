"""What a manifest tells of its search; that it is enough for the same bytes is tests/search/test_reproduce.py's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cti_edits.artifact.asked import Asked, AskedModel, AskedPrompt
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import DatasetRecord, Measurement, Provenance, Results, TaskRecord
from cti_edits.errors import EditError
from cti_edits.search.presets import PRESETS
from cti_edits.search.recorded import RecordedSearch, recorded_search
from cti_edits.search.settings import SearchSettings
from tests.support.edits import BASE, SEARCH

TASK = TaskRecord("animals", DatasetRecord(None, None, "validation"), "acc")


def recorded(fields: dict[str, Any] | None = None, **changes: Any) -> RecordedSearch:
    whole: dict[str, Any] = {"task": TASK, "search": dataclasses.replace(SEARCH, **(fields or {}))}
    return recorded_search(Edit("found", "", BASE, (), **{**whole, **changes}), "found.json")


@pytest.mark.parametrize(
    ("samples", "evaluated_on", "parts"),
    [(4, 4, ("sample", "sample")), (4, 9, ("sample", "validation")), (9, 4, ("validation", "sample"))],
)
def test_without_a_preset_the_numbers_of_rows_say_of_which_part(
    samples: int, evaluated_on: int, parts: tuple[str, str]
) -> None:
    settings = recorded({"samples": samples, "evaluated_on": evaluated_on}).settings("causal")
    assert (settings.gradients_on, settings.evaluated_on) == parts
    # So many are drawn.
    assert settings.samples == 4


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_a_preset_says_what_is_not_recorded(name: str, kind: Any) -> None:
    wanted = PRESETS[name].settings(kind)
    kept = {key: getattr(wanted, key) for key in ("seed", "top_q", "clusters", "rates", "matrices", "preset")}
    rows = {part: wanted.samples if part == "sample" else 700 for part in ("sample", "validation")}
    scored = rows[wanted.gradients_on] if wanted.takes_gradients else rows[wanted.evaluated_on]
    found = recorded({**kept, "samples": scored, "evaluated_on": rows[wanted.evaluated_on]}).settings(kind)
    drawn = wanted.samples if wanted.draws else found.samples
    assert found == dataclasses.replace(wanted, samples=drawn if "sample" in _drawn(wanted) else found.samples)


def _drawn(settings: SearchSettings) -> set[str]:
    return {settings.evaluated_on, *([settings.gradients_on] if settings.takes_gradients else [])}


def test_arguments_of_the_model_and_of_prompts() -> None:
    asked = Asked(
        AskedModel(
            subfolder="inner",
            quantization='{"load_in_4bit": true}',
            tokenizer="owner/base",
            dtype="bfloat16",
            model_arguments='{"attn_implementation": "eager"}',
        ),
        AskedPrompt(add_bos_token=True, max_length=512, truncation=False, apply_chat_template=True, num_fewshot=3),
    )
    found = recorded({"asked": asked})
    assert found.model_arguments() == {
        "attn_implementation": "eager", "load_in_4bit": True, "subfolder": "inner", "tokenizer": "owner/base",
        "max_length": 512, "add_bos_token": True,
    }  # fmt: skip
    assert found.dtype == "bfloat16"
    prompting = found.prompting()
    assert (prompting.num_fewshot, prompting.apply_chat_template, prompting.gen_kwargs) == (3, True, {})
    # A tokenizer that was given in memory is known by its hash alone.
    in_memory = Asked(AskedModel(tokenizer="sha256:00"))
    assert recorded({"asked": in_memory}).model_arguments() == {}
    assert recorded({"asked": in_memory}).dtype == "float32"


def test_rows_apart_and_the_evaluator() -> None:
    assert (recorded().held_out, recorded().evaluator) == ("none", "reference")
    measured = Results(None, Measurement(148, 0.1, 0.2, 0.3))
    made = Provenance(None, "cti-edits", None, {}, batch_tokens=256)
    found = recorded(results=measured, provenance=made)
    assert (found.held_out, found.evaluator) == (148, "replay")


@pytest.mark.parametrize("missing", ["task", "search"])
def test_without_a_record_there_is_nothing_to_run(missing: str) -> None:
    with pytest.raises(EditError, match=r"^found\.json: records no search of this tool"):
        recorded(**{missing: None})


def test_a_search_that_was_cut_short_is_not_run_again() -> None:
    with pytest.raises(EditError, match=r"^found\.json: its search was cut short after 60 s, and how far [^\n]*$"):
        recorded({"time_budget": 60.0})
