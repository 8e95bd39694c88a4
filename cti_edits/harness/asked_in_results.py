"""What a run asked, from the results file that lm-eval wrote of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cti_edits.artifact.asked import PARTS, Asked, AskedModel, AskedPrompt, AskedTask, Difference
from cti_edits.harness.hf_arguments import HOW_IT_IS_FETCHED, HOW_IT_RUNS, is_quantization

MODEL_FIELDS = tuple(one.name for one in fields(AskedModel))
PROMPT_FIELDS = ("add_bos_token", "prefix_token_id", "max_length", "truncation")
"""Of a prompt, what the model knows. The rest is for lm-eval to write."""

GIVEN = ("subfolder", "gguf_file", "peft", "delta", "add_bos_token")
"""Arguments of lm-eval's own ``hf`` model that are known to be off where they were not given."""

AMONG_ALIKE = ("quantization", "tokenizer", "model_arguments", "prefix_token_id", "truncation")
"""Fields for which ``model_args`` say what was asked for, not what came of it: two runs of one kind can be compared."""

ABOUT_EDIT = ("edit", "skip_calibration")
"""Arguments of ``--model cti`` that belong to the edit."""


@dataclass(frozen=True)
class RecordedRun:
    """What a run asked, as far as its results tell.

    Attributes:
        asked: the values.
        known: the fields that the results tell of; the others are None and may have been anything.
        among_alike: further fields, which can be compared with a run of the same ``kind`` alone.
        kind: who tells of the model: "asked", or lm-eval's name of the model class whose ``model_args`` tell.
        commit: of a model on the hub, as the hub told lm-eval; None where it was not asked.
    """

    asked: Asked
    known: frozenset[str]
    among_alike: frozenset[str] = frozenset()
    kind: str = "asked"
    commit: str | None = None

    def differences(self, other: RecordedRun) -> Iterator[Difference]:
        """The fields that both tell of, and that differ."""
        both = self.known & other.known
        first, second = self.asked, other.asked
        if self.kind == other.kind:
            both |= self.among_alike & other.among_alike
        # Of two runs that recorded what they asked, the revision is the commit that was loaded, and better.
        if {self.kind, other.kind} != {"asked"} and self.commit and other.commit:
            first, second = _of_revision(first, self.commit), _of_revision(second, other.commit)
            both |= {"revision"}
        return (one for one in first.differences(second) if one.field in both)


def _of_revision(asked: Asked, commit: str) -> Asked:
    return dataclasses.replace(asked, model=dataclasses.replace(asked.model, revision=commit))


def asked_in_results(results: Mapping[str, Any], task: str) -> RecordedRun:
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
        alike, kind = frozenset[str](), "asked"
    else:
        model, prompt, known, alike = _of_arguments(results, config)
        kind = str(config.get("model"))
    prompt, more = _evaluators_part(results, config, task, prompt)
    versions = results.get("versions")
    version = versions.get(task) if isinstance(versions, dict) else None
    if version is not None:
        known.add("version")
    asked = Asked(model, prompt, AskedTask(version=None if version is None else str(version)))
    return RecordedRun(asked, frozenset(known | more), alike, kind, config.get("model_sha") or None)


def _of_arguments(
    results: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[AskedModel, AskedPrompt, set[str], frozenset[str]]:
    """The model's side of a run whose model did not record it: what is known, and what is so among its kind."""
    if "model_args" not in config:
        return AskedModel(), AskedPrompt(), set(), frozenset()
    given = _arguments(config["model_args"])
    edit = config.get("edit")
    of_edit = edit.get("applied_to") if isinstance(edit, dict) else None
    place = _place(given.get("pretrained") or of_edit)
    dtype = config["model_dtype"].removeprefix("torch.") if isinstance(config.get("model_dtype"), str) else None
    length = results["max_length"] if isinstance(results.get("max_length"), int) else None
    told = {"pretrained": place, "dtype": dtype, "max_length": length}
    # An edit brings the commit of its base, for which the base's own run may have another name.
    revision = given.get("revision", None if of_edit else config.get("model_revision"))
    quantization = {name: value for name, value in given.items() if is_quantization(name)}
    return (
        AskedModel(
            pretrained=place,
            revision=revision,
            subfolder=given.get("subfolder") or None,
            gguf_file=given.get("gguf_file") or None,
            dtype=dtype,
            quantization=_canonical(quantization),
            peft=_place(given.get("peft")),
            delta=_place(given.get("delta")),
            tokenizer=_place(given.get("tokenizer")),
            model_arguments=_canonical({k: v for k, v in given.items() if k not in _TOLD and k not in quantization}),
        ),
        AskedPrompt(
            add_bos_token=_boolean(given.get("add_bos_token")),
            prefix_token_id=_number(given.get("prefix_token_id")),
            max_length=length,
            truncation=_boolean(given.get("truncation", "false")),
        ),
        {*GIVEN, *(name for name, value in told.items() if value is not None)},
        frozenset({*AMONG_ALIKE, *(() if revision is None else ("revision",))}),
    )


_TOLD = (*MODEL_FIELDS, *PROMPT_FIELDS, *HOW_IT_RUNS, *HOW_IT_IS_FETCHED, *ABOUT_EDIT)
"""Arguments that stand in a field of their own, or are not what was asked."""


def _place(given: str | None) -> str | None:
    """A folder's whole path, as ``config.asked`` has it; any other text is a hub id."""
    return str(Path(given).resolve()) if given and Path(given).is_dir() else given or None


def _boolean(given: str | None) -> bool | None:
    return {"true": True, "false": False}.get(str(given).lower())


def _number(given: str | None) -> int | None:
    return int(given) if given and given.isdecimal() else None


def _canonical(arguments: Mapping[str, str]) -> str | None:
    return json.dumps(arguments, sort_keys=True) if arguments else None


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
