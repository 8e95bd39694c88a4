"""Which base model is loaded, and of which kind it is, by its config."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import AutoConfig, PretrainedConfig

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError, printable
from cti_edits.harness.model_arguments import check_remote_code, loading
from cti_edits.hub.repositories import quiet_hub
from cti_edits.models.architectures import Kind, known_family
from cti_edits.models.wrappers import inner_model

Pretrained = str | torch.nn.Module
"""Hub id or folder of a checkpoint, or a transformers model that is loaded already, maybe with an adapter of PEFT."""


def base_of(edit: Edit | None, pretrained: Pretrained | None, revision: str | None) -> tuple[Pretrained, str | None]:
    """The base model and its revision: those of the arguments, else the edit's.

    Raises:
        EditError: there is neither an edit nor a base.
    """
    if pretrained is not None and pretrained != "":
        return pretrained, revision
    if edit is None:
        raise EditError("expected edit=FILE, pretrained=MODEL or both in --model_args, got neither")
    return edit.base_model.id, revision or edit.base_model.revision


def model_kind(
    pretrained: Pretrained, revision: str | None, arguments: Mapping[str, object], named_by: str | None = None
) -> Kind:
    """The kind of language model that a checkpoint holds, by its config, or that a loaded model is, by its class.

    HFLM loads a masked language model such as RoBERTa silently as a causal one, whose attention is then wrong.

    Args:
        pretrained: see `Pretrained`.
        revision: of the checkpoint, on the hub.
        arguments: of HFLM; some say how a config is read.
        named_by: the edit that names the checkpoint, if one does, for messages.

    Raises:
        EditError: the config cannot be read, or names classes that have no language model head of their family's kind.
    """
    config = config_of(pretrained, revision, arguments, named_by)
    if isinstance(pretrained, str):
        classes = list(getattr(config, "architectures", None) or [])
    else:
        classes = [type(inner_model(pretrained)).__name__]
    if any(name.endswith("ForMaskedLM") for name in classes):
        return "masked"
    family = known_family(str(getattr(config, "model_type", None)))
    if family is None:
        return "seq2seq" if getattr(config, "is_encoder_decoder", False) else "causal"
    if family.kind == "causal":
        return "causal"
    if family.kind == "seq2seq":
        without_head = classes and not any(_has_seq2seq_head(name, config) for name in classes)
    else:
        if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
            return "causal"
        # Loaded as a masked language model, a classifier would get a random head; BertForPreTraining has the right one.
        without_head = classes and not any(name.endswith("ForPreTraining") for name in classes)
    if without_head:
        raise EditError(f"{name_of(pretrained)} is a {printable(classes[0])}, which has no language model head")
    return family.kind


def _has_seq2seq_head(name: str, config: object) -> bool:
    """Whether a checkpoint of this class has what an encoder-decoder's head needs; bare ones where it is tied."""
    if name.endswith(("ForConditionalGeneration", "MTModel", "WithLMHeadModel")):
        return True
    bare = name.endswith("Model") and not name.endswith("EncoderModel")
    return bare and bool(getattr(config, "tie_word_embeddings", True))


def read_config(
    pretrained: str, revision: str | None, arguments: Mapping[str, object], named_by: str | None = None
) -> PretrainedConfig:
    """A checkpoint's config, read as the arguments of `EditedHFLM` say.

    Raises:
        EditError: it cannot be read, or needs code that may not run.
    """
    options = {k: arguments[k] for k in ("gguf_file", "subfolder") if arguments.get(k)}
    trust = check_remote_code(arguments.get("trust_remote_code"))
    with loading(pretrained, named_by), quiet_hub():
        config: PretrainedConfig = AutoConfig.from_pretrained(
            pretrained, revision=revision or "main", trust_remote_code=trust, **options
        )
        return config


def config_of(
    pretrained: Pretrained, revision: str | None, arguments: Mapping[str, object], named_by: str | None
) -> object:
    """The config of a checkpoint, or of a model in memory; None if that has none."""
    if isinstance(pretrained, str):
        return read_config(pretrained, revision, arguments, named_by)
    without_adapter = getattr(pretrained, "get_base_model", None)
    return getattr(without_adapter() if callable(without_adapter) else pretrained, "config", None)


def name_of(pretrained: Pretrained) -> str:
    """A checkpoint's name for a message, or the class of a model in memory."""
    return printable(pretrained) if isinstance(pretrained, str) else type(pretrained).__name__
