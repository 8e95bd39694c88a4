"""What a run asked, from the results file that lm-eval wrote of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cti_edits.artifact.asked import PARTS, Asked, AskedModel, AskedPrompt, AskedTask, Difference

MODEL_FIELDS = tuple(one.name for one in fields(AskedModel))
PROMPT_FIELDS = ("add_bos_token", "prefix_token_id", "max_length", "truncation")
"""Of a prompt, what the model knows. The rest is for lm-eval to write."""

GIVEN = ("subfolder", "gguf_file", "peft", "delta", "add_bos_token", "max_length")
"""Arguments of lm-eval's own ``hf`` model that are known to be off where they were not given."""


@dataclass(frozen=True)
class Recorded:
    """What a run asked, as far as its results tell.

    Attributes:
        asked: the values.
        known: the fields that the results tell of; the others are None and may have been anything.
    """

    asked: Asked
    known: frozenset[str]

    def differences(self, other: Recorded) -> Iterator[Difference]:
        """The fields that both tell of, and that differ."""
        both = self.known & other.known
        return (one for one in self.asked.differences(other.asked) if one.field in both)


def asked_in_results(results: Mapping[str, Any], task: str) -> Recorded:
    """What the run of ``task`` asked.

    A run of ``--model cti`` records the model's side itself (``config.asked``); of other runs it is made of
    ``model_args``. What the evaluator decides comes from lm-eval's own fields.

    Args:
        results: a whole results file; whatever is missing in it is not known.
        task: a name in it.
    """
    config = results.get("config") or {}
    recorded = config.get("asked")
    if isinstance(recorded, dict):
        asked = Asked.from_json({part: recorded[part] for part in PARTS if isinstance(recorded.get(part), dict)})
        model, prompt, known = asked.model, asked.prompt, {*MODEL_FIELDS, *PROMPT_FIELDS}
    else:
        model, prompt, known = _of_arguments(config)
    prompt, more = _evaluators_part(results, config, task, prompt)
    versions = results.get("versions")
    version = versions.get(task) if isinstance(versions, dict) else None
    if version is not None:
        known.add("version")
    asked = Asked(model, prompt, AskedTask(version=None if version is None else str(version)))
    return Recorded(asked, frozenset(known | more))


def _of_arguments(config: Mapping[str, Any]) -> tuple[AskedModel, AskedPrompt, set[str]]:
    """The model's side of a run whose model did not record it."""
    if "model_args" not in config:
        return AskedModel(), AskedPrompt(), set()
    given = _arguments(config["model_args"])
    place = given.get("pretrained")
    dtype = config.get("model_dtype")
    known = {*GIVEN}
    if place is not None:
        known.add("pretrained")
        place = str(Path(place).resolve()) if Path(place).is_dir() else place
    if isinstance(dtype, str):
        known.add("dtype")
    length = given.get("max_length")
    model = AskedModel(
        pretrained=place,
        subfolder=given.get("subfolder"),
        gguf_file=given.get("gguf_file"),
        dtype=dtype.removeprefix("torch.") if isinstance(dtype, str) else None,
        peft=given.get("peft"),
        delta=given.get("delta"),
    )
    bos = {"true": True, "false": False}.get(str(given.get("add_bos_token")).lower())
    if length is None or not length.isdigit():
        # What it is then, the model knows alone.
        known.discard("max_length")
    prompt = AskedPrompt(add_bos_token=bos, max_length=int(length) if length and length.isdigit() else None)
    return model, prompt, known


def _arguments(text: object) -> dict[str, str]:
    """lm-eval's ``model_args``: an object, or "key=value,key=value"."""
    if isinstance(text, dict):
        return {str(key): str(value) for key, value in text.items() if value is not None}
    parts = (part.partition("=") for part in str(text).split(",")) if isinstance(text, str) else ()
    return {key.strip(): value.strip() for key, sign, value in parts if sign}


def _evaluators_part(
    results: Mapping[str, Any], config: Mapping[str, Any], task: str, prompt: AskedPrompt
) -> tuple[AskedPrompt, set[str]]:
    """``prompt`` with what lm-eval's evaluator decided, and which fields those are."""
    found: dict[str, Any] = {}
    shots = results.get("n-shot")
    if isinstance(shots, dict) and isinstance(shots.get(task), int):
        found["num_fewshot"] = shots[task]
    if "chat_template_sha" in results:
        found["chat_template_sha"] = results["chat_template_sha"]
        found["apply_chat_template"] = results["chat_template_sha"] is not None
    if "system_instruction" in results:
        found["system_instruction"] = results["system_instruction"]
    # Without examples, or without turns, these change nothing.
    some = bool(found.get("num_fewshot"))
    if "fewshot_as_multiturn" in results:
        matters = some and found.get("apply_chat_template")
        found["fewshot_as_multiturn"] = results["fewshot_as_multiturn"] if matters else None
    if "fewshot_seed" in config:
        found["fewshot_seed"] = config["fewshot_seed"] if some else None
    configs = results.get("configs")
    of_task = configs.get(task) if isinstance(configs, dict) else None
    if isinstance(of_task, dict):
        generation = of_task.get("generation_kwargs") if of_task.get("output_type") == "generate_until" else None
        found["gen_kwargs"] = None if generation is None else json.dumps(generation, sort_keys=True)
    return dataclasses.replace(prompt, **found), set(found)
