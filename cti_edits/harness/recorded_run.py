"""The settings of a run, as far as the results file that lm-eval wrote of it tells them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cti_edits.artifact.asked import PARTS, Asked, AskedModel, AskedPrompt, AskedTask, Difference
from cti_edits.harness.hf_arguments import DOWNLOAD_ARGUMENTS, RUNTIME_ARGUMENTS, is_quantization

MODEL_FIELDS = tuple(one.name for one in fields(AskedModel))
PROMPT_FIELDS = ("add_bos_token", "prefix_token_id", "max_length", "truncation")
"""The settings of a prompt that are the model's. The others are the evaluator's."""

OFF_BY_DEFAULT = ("subfolder", "gguf_file", "peft", "delta", "add_bos_token")
"""Arguments of lm-eval's own ``hf`` model that are off where ``model_args`` do not have them."""

SAME_KIND_ONLY = ("quantization", "tokenizer", "model_arguments", "prefix_token_id", "truncation")
"""Fields whose effect ``model_args`` do not tell; they can be compared between two runs of the same kind only."""

EDIT_ARGUMENTS = ("edit", "skip_calibration")
"""Arguments of ``--model cti`` that belong to the edit."""


@dataclass(frozen=True)
class RecordedRun:
    """The settings of a run.

    Attributes:
        asked: the values.
        known: the fields whose values the results have; the others are None and may have been anything.
        known_in_kind: further fields, which can be compared with a run of the same ``kind`` only.
        kind: what the model's settings are from: "asked" for ``config.asked``, or, where they are from ``model_args``,
            lm-eval's name of the model class.
        commit: of a model on the hub, as lm-eval recorded it; None where it did not.
    """

    asked: Asked
    known: frozenset[str]
    known_in_kind: frozenset[str] = frozenset()
    kind: str = "asked"
    commit: str | None = None

    def differences(self, other: RecordedRun) -> Iterator[Difference]:
        """The fields that both have, and that differ."""
        both = self.known & other.known
        first, second = self.asked, other.asked
        if self.kind == other.kind:
            both |= self.known_in_kind & other.known_in_kind
        # In ``config.asked`` of both, the revision is the commit that was loaded already.
        if {self.kind, other.kind} != {"asked"} and self.commit and other.commit:
            first, second = _with_revision(first, self.commit), _with_revision(second, other.commit)
            both |= {"revision"}
        return (one for one in first.differences(second) if one.field in both)


def _with_revision(asked: Asked, commit: str) -> Asked:
    return dataclasses.replace(asked, model=dataclasses.replace(asked.model, revision=commit))


def recorded_run(results: Mapping[str, Any], task: str) -> RecordedRun:
    """The settings of the run of ``task``.

    A run of ``--model cti`` records the model's settings in ``config.asked``; those of other runs are made of
    ``model_args``. What lm-eval's evaluator decides is in fields of its own.

    Args:
        results: a whole results file; whatever is missing in it is not known.
        task: a name in it.
    """
    config = results.get("config") or {}
    recorded = config.get("asked")
    if isinstance(recorded, dict):
        asked = Asked.from_json({part: recorded[part] for part in PARTS if isinstance(recorded.get(part), dict)})
        model, prompt, known = asked.model, asked.prompt, {*MODEL_FIELDS, *PROMPT_FIELDS}
        in_kind, kind = frozenset[str](), "asked"
    else:
        model, prompt, known, in_kind = _from_model_args(results, config)
        kind = str(config.get("model"))
    prompt, more = _with_evaluator_settings(prompt, results, config, task)
    versions = results.get("versions")
    version = versions.get(task) if isinstance(versions, dict) else None
    if version is not None:
        known.add("version")
    asked = Asked(model, prompt, AskedTask(version=None if version is None else str(version)))
    return RecordedRun(asked, frozenset(known | more), in_kind, kind, config.get("model_sha") or None)


def _from_model_args(
    results: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[AskedModel, AskedPrompt, set[str], frozenset[str]]:
    """The model's settings, which fields are known, and which are within the kind."""
    if "model_args" not in config:
        return AskedModel(), AskedPrompt(), set(), frozenset()
    arguments = _arguments(config["model_args"])
    edit = config.get("edit")
    edited_base = edit.get("applied_to") if isinstance(edit, dict) else None
    base = _location(arguments.get("pretrained") or edited_base)
    dtype = config["model_dtype"].removeprefix("torch.") if isinstance(config.get("model_dtype"), str) else None
    length = results["max_length"] if isinstance(results.get("max_length"), int) else None
    recorded = {"pretrained": base, "dtype": dtype, "max_length": length}
    # An edit brings the commit of its base, for which the base's own run may have another name.
    revision = arguments.get("revision", None if edited_base else config.get("model_revision"))
    quantization = {name: value for name, value in arguments.items() if is_quantization(name)}
    others = {name: value for name, value in arguments.items() if name not in (*_OTHER_FIELDS, *quantization)}
    return (
        AskedModel(
            pretrained=base,
            revision=revision,
            subfolder=arguments.get("subfolder") or None,
            gguf_file=arguments.get("gguf_file") or None,
            dtype=dtype,
            quantization=_canonical(quantization),
            peft=_location(arguments.get("peft")),
            delta=_location(arguments.get("delta")),
            tokenizer=_location(arguments.get("tokenizer")),
            model_arguments=_canonical(others),
        ),
        AskedPrompt(
            add_bos_token=_boolean(arguments.get("add_bos_token")),
            prefix_token_id=_number(arguments.get("prefix_token_id")),
            max_length=length,
            truncation=_boolean(arguments.get("truncation", "false")),
        ),
        {*OFF_BY_DEFAULT, *(name for name, value in recorded.items() if value is not None)},
        frozenset({*SAME_KIND_ONLY, *(() if revision is None else ("revision",))}),
    )


_OTHER_FIELDS = (*MODEL_FIELDS, *PROMPT_FIELDS, *RUNTIME_ARGUMENTS, *DOWNLOAD_ARGUMENTS, *EDIT_ARGUMENTS)
"""Arguments that are not in ``model_arguments``: those that have a field of their own, or change no answer."""


def _location(text: str | None) -> str | None:
    """A folder's whole path, as ``config.asked`` has it; any other text is a hub id."""
    return str(Path(text).resolve()) if text and Path(text).is_dir() else text or None


def _boolean(text: str | None) -> bool | None:
    return {"true": True, "false": False}.get(str(text).lower())


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _canonical(arguments: Mapping[str, str]) -> str | None:
    return json.dumps(arguments, sort_keys=True) if arguments else None


def _arguments(text: object) -> dict[str, str]:
    """lm-eval's ``model_args``: an object, or "key=value,key=value"."""
    if isinstance(text, dict):
        return {str(key): str(value) for key, value in text.items() if value is not None}
    parts = (part.partition("=") for part in str(text).split(",")) if isinstance(text, str) else ()
    return {key.strip(): value.strip() for key, sign, value in parts if sign}


def _with_evaluator_settings(
    prompt: AskedPrompt, results: Mapping[str, Any], config: Mapping[str, Any], task: str
) -> tuple[AskedPrompt, set[str]]:
    """``prompt`` with the settings of lm-eval's evaluator, and which fields those are."""
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
    task_config = configs.get(task) if isinstance(configs, dict) else None
    if isinstance(task_config, dict):
        writes = task_config.get("output_type") == "generate_until"
        generation = task_config.get("generation_kwargs") if writes else None
        found["gen_kwargs"] = None if generation is None else json.dumps(generation, sort_keys=True)
    return dataclasses.replace(prompt, **found), set(found)
