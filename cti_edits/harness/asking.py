"""What a loaded model of lm-eval is asked with: the model's part of `Asked` and what it knows of the prompt's part."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import inspect
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers.utils.hub import cached_file, extract_commit_hash

from cti_edits.artifact.asked import AskedModel, AskedPrompt
from cti_edits.harness.hf_arguments import HOW_IT_IS_FETCHED, HOW_IT_RUNS, is_quantization
from cti_edits.models.weights_hash import weights_sha256

if TYPE_CHECKING:
    from cti_edits.harness.edited_model import EditedHFLM

TOKENIZER_SETTINGS = (
    "model_max_length", "truncation_side", "padding_side", "clean_up_tokenization_spaces", "split_special_tokens",
    "add_bos_token", "add_eos_token",
)  # fmt: skip
"""What a tokenizer knows beside its rules."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class ModelSource:
    """What an lm-eval model was made of.

    Attributes:
        pretrained: hub id or folder, or a model in memory.
        revision: that was asked for, by the argument or the edit.
        arguments: all others of HFLM that were given.
        weights: `weights_sha256` of a model in memory, taken before the edit was applied to it; None: not taken yet.
    """

    pretrained: object
    revision: str | None
    arguments: Mapping[str, object]
    weights: str | None = None

    @classmethod
    def before_edit(
        cls, lm: HFLM, pretrained: object, revision: str | None, arguments: Mapping[str, object]
    ) -> ModelSource:
        """What ``lm`` was made of, told before an edit changes the weights."""
        weights = None if isinstance(pretrained, str) else _weights_sha256(lm)
        return cls(pretrained, revision, arguments, weights)

    def of_answers(self) -> dict[str, object]:
        """The arguments that answers depend on, without those that are HFLM's defaults."""
        left_out = (*HOW_IT_RUNS, *HOW_IT_IS_FETCHED)
        return {k: v for k, v in self.arguments.items() if k not in left_out and not _is_default(k, v)}


def asked_model(lm: EditedHFLM) -> AskedModel:
    """The model's part of what ``lm`` is asked: the base that it runs, without the edit."""
    given = lm.given
    in_memory = not isinstance(given.pretrained, str)
    arguments = given.of_answers()
    quantization = {name: value for name, value in arguments.items() if is_quantization(name)}
    own_fields = {one.name for kind in (AskedModel, AskedPrompt) for one in fields(kind)}
    others = {name: value for name, value in arguments.items() if name not in (*own_fields, *quantization)}
    dtype = getattr(lm.model, "dtype", None)
    return AskedModel(
        pretrained=type(lm.model).__name__ if in_memory else place(str(given.pretrained)),
        revision=None if in_memory else _revision(lm, str(given.pretrained)),
        subfolder=_text(arguments.get("subfolder")),
        gguf_file=_text(arguments.get("gguf_file")),
        weights_sha256=(given.weights or _weights_sha256(lm)) if in_memory else None,
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else None,
        quantization=canonical(quantization) if quantization else None,
        peft=_place(arguments.get("peft")),
        delta=_place(arguments.get("delta")),
        tokenizer=_tokenizer(arguments.get("tokenizer")),
        model_arguments=canonical(others) if others else None,
    )


def asked_prompt(lm: EditedHFLM) -> AskedPrompt:
    """What ``lm`` knows of how examples become prompts; what lm-eval's evaluator decides stays None."""
    prefix = lm.prefix_token_id
    return AskedPrompt(
        add_bos_token=None if lm.add_bos_token is None else bool(lm.add_bos_token),
        prefix_token_id=None if prefix is None else int(prefix),
        max_length=int(lm.max_length),
        truncation=bool(lm.truncation),
    )


def place(text: str) -> str:
    """A folder's whole path, so that it is the same from wherever it was named; any other text is a hub id."""
    return str(Path(text).resolve()) if Path(text).is_dir() else text


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hash of all that a tokenizer of transformers does: vocabulary, rules, special tokens, chat template, settings."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts: dict[str, object] = {
        "class": type(tokenizer).__name__,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "chat_template": getattr(tokenizer, "chat_template", None),
        **{name: getattr(tokenizer, name, None) for name in TOKENIZER_SETTINGS},
    }
    if backend is not None:
        rules = json.loads(backend.to_str())
        # Every call leaves its own padding and truncation here.
        rules.update(padding=None, truncation=None)
    else:
        rules = {"vocabulary": dict(tokenizer.get_vocab()), "files": _vocabulary_files(tokenizer)}
    text = json.dumps(rules, sort_keys=True)
    return hashlib.sha256(f"{canonical(parts)}\n{text}".encode()).hexdigest()


def _vocabulary_files(tokenizer: Any) -> dict[str, str]:
    """Hashes of the files that a tokenizer written in Python keeps its vocabulary in."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(NotImplementedError):
        tokenizer.save_vocabulary(folder)
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(Path(folder).iterdir())}
    return {}


def canonical(value: Mapping[str, object]) -> str:
    """Canonical JSON (RFC 8785) of arguments; see `plain_value` for what becomes of those that JSON has not."""
    import rfc8785

    return rfc8785.dumps(plain_value(value)).decode()


def class_name(value: object) -> Json:
    """The whole name of an object's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def plain_value(value: object, other: Callable[[object], Json] = class_name) -> Json:
    """An argument as JSON has it.

    Args:
        value: a dtype or path becomes its name, a configuration of transformers or PEFT its fields.
        other: what becomes of objects that JSON has not.
    """
    if isinstance(value, enum.Enum):
        return plain_value(value.value, other)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, Mapping):
        return {str(key): plain_value(one, other) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one, other) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((plain_value(one, other) for one in value), key=json.dumps)
    if callable(to_dict := getattr(value, "to_dict", None)) and not isinstance(value, type):
        return plain_value(to_dict(), other)
    return other(value)


def _revision(lm: EditedHFLM, pretrained: str) -> str | None:
    """The commit that this machine's copy of a model of the hub is of, else what was asked for; a folder has none."""
    if Path(pretrained).is_dir():
        return None
    given = lm.given.arguments
    asked_for = lm.given.revision or "main"
    try:
        # transformers 5 notes no commit in the config.
        file = cached_file(
            pretrained,
            str(given.get("gguf_file") or "config.json"),
            subfolder=str(given.get("subfolder") or ""),
            revision=asked_for,
            cache_dir=given.get("cache_dir"),
            local_files_only=True,
        )
    except (OSError, ValueError):
        return asked_for
    return extract_commit_hash(file, None) or asked_for


def _weights_sha256(lm: HFLM) -> str | None:
    try:
        return weights_sha256(lm.model)
    except TypeError:
        return None


def _tokenizer(given: object) -> str | None:
    return _place(given) if given is None or isinstance(given, str) else f"sha256:{tokenizer_sha256(given)}"


def _place(given: object) -> str | None:
    return place(str(given)) if given else None


def _text(given: object) -> str | None:
    return str(given) if given else None


def _is_default(name: str, value: object) -> bool:
    """Whether HFLM does the same without the argument."""
    defaults = _defaults()
    return name in defaults and type(value) is type(defaults[name]) and value == defaults[name]


@cache
def _defaults() -> Mapping[str, object]:
    parameters = inspect.signature(HFLM.__init__).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}
