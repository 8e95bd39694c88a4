"""The record of a loaded model (`AskedModel`, and its part of `AskedPrompt`): what its answers depend on."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lm_eval.models.huggingface import HFLM
from transformers.utils.hub import cached_file, extract_commit_hash

from cti_edits.artifact.asked import AskedModel, AskedPrompt
from cti_edits.harness.hf_arguments import DOWNLOAD_ARGUMENTS, RUNTIME_ARGUMENTS, is_quantization
from cti_edits.harness.plain_json import canonical
from cti_edits.models.weights_hash import weights_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cti_edits.harness.edited_model import EditedHFLM

TOKENIZER_SETTINGS = (
    "model_max_length", "truncation_side", "padding_side", "clean_up_tokenization_spaces", "split_special_tokens",
    "add_bos_token", "add_eos_token",
)  # fmt: skip
"""Attributes of a tokenizer that change what it does."""


@dataclass(frozen=True)
class ModelSource:
    """What an lm-eval model was made of.

    Attributes:
        pretrained: hub id or folder, or a model in memory.
        revision: the argument's, or the edit's.
        arguments: all other arguments of HFLM.
        weights: `weights_sha256` of a model in memory before the edit was applied to it; None: not computed.
    """

    pretrained: object
    revision: str | None
    arguments: Mapping[str, object]
    weights: str | None = None

    @classmethod
    def before_edit(
        cls, lm: HFLM, pretrained: object, revision: str | None, arguments: Mapping[str, object]
    ) -> ModelSource:
        """What ``lm`` was made of; called before an edit changes the weights."""
        weights = None if isinstance(pretrained, str) else _weights_sha256(lm)
        return cls(pretrained, revision, arguments, weights)

    def answer_arguments(self) -> dict[str, object]:
        """The arguments that change answers, without those that have HFLM's default."""
        left_out = (*RUNTIME_ARGUMENTS, *DOWNLOAD_ARGUMENTS)
        return {k: v for k, v in self.arguments.items() if k not in left_out and not _is_default(k, v)}


def asked_model(lm: EditedHFLM) -> AskedModel:
    """The record of the base model that ``lm`` runs, without the edit."""
    source = lm.source
    in_memory = not isinstance(source.pretrained, str)
    arguments = source.answer_arguments()
    quantization = {name: value for name, value in arguments.items() if is_quantization(name)}
    own_fields = {one.name for kind in (AskedModel, AskedPrompt) for one in fields(kind)}
    others = {name: value for name, value in arguments.items() if name not in (*own_fields, *quantization)}
    dtype = getattr(lm.model, "dtype", None)
    return AskedModel(
        pretrained=type(lm.model).__name__ if in_memory else location(str(source.pretrained)),
        revision=None if in_memory else _revision(lm, str(source.pretrained)),
        subfolder=_text(arguments.get("subfolder")),
        gguf_file=_text(arguments.get("gguf_file")),
        weights_sha256=(source.weights or _weights_sha256(lm)) if in_memory else None,
        dtype=str(dtype).removeprefix("torch.") if dtype is not None else None,
        quantization=canonical(quantization) if quantization else None,
        peft=_location(arguments.get("peft")),
        delta=_location(arguments.get("delta")),
        tokenizer=_tokenizer(arguments.get("tokenizer")),
        model_arguments=canonical(others) if others else None,
    )


def asked_prompt(lm: EditedHFLM) -> AskedPrompt:
    """The model's settings of how examples become prompts; those of lm-eval's evaluator stay None."""
    prefix = lm.prefix_token_id
    return AskedPrompt(
        add_bos_token=None if lm.add_bos_token is None else bool(lm.add_bos_token),
        prefix_token_id=None if prefix is None else int(prefix),
        max_length=int(lm.max_length),
        truncation=bool(lm.truncation),
    )


def location(text: str) -> str:
    """A folder's absolute path; any other text is a hub id and stays."""
    return str(Path(text).resolve()) if Path(text).is_dir() else text


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of everything that a tokenizer does: vocabulary, rules, special tokens, chat template, settings."""
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


def _vocabulary_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Hashes of the files that a tokenizer written in Python keeps its vocabulary in."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(NotImplementedError):
        tokenizer.save_vocabulary(folder)
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(Path(folder).iterdir())}
    return {}


def _revision(lm: EditedHFLM, pretrained: str) -> str | None:
    """The commit of the local copy of a model of the hub, else the revision that names it; a folder has none."""
    if Path(pretrained).is_dir():
        return None
    arguments, revision = lm.source.arguments, lm.source.revision or "main"
    try:
        # transformers 5 notes no commit in the config.
        file = cached_file(
            pretrained,
            str(arguments.get("gguf_file") or "config.json"),
            subfolder=str(arguments.get("subfolder") or ""),
            revision=revision,
            cache_dir=arguments.get("cache_dir"),
            local_files_only=True,
        )
    except (OSError, ValueError):
        return revision
    return extract_commit_hash(file, None) or revision


def _weights_sha256(lm: HFLM) -> str | None:
    try:
        return weights_sha256(lm.model)
    except TypeError:
        return None


def _tokenizer(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return _location(value)
    return f"sha256:{tokenizer_sha256(cast('PreTrainedTokenizerBase', value))}"


def _location(value: object) -> str | None:
    return location(str(value)) if value else None


def _text(value: object) -> str | None:
    return str(value) if value else None


def _is_default(name: str, value: object) -> bool:
    """Whether HFLM does the same without the argument."""
    defaults = _defaults()
    return name in defaults and type(value) is type(defaults[name]) and value == defaults[name]


@cache
def _defaults() -> Mapping[str, object]:
    parameters = inspect.signature(HFLM.__init__).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}
