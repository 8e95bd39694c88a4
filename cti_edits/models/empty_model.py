"""A language model of a config on the meta device: its modules and shapes, without weights, in well under a second."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from cti_edits.errors import EditError, FitError, printable
from cti_edits.models.architectures import Kind

AUTO_CLASSES: dict[Kind, tuple[str, ...]] = {
    "masked": ("AutoModelForMaskedLM",),
    "seq2seq": ("AutoModelForSeq2SeqLM",),
    "causal": ("AutoModelForCausalLM", "AutoModelForImageTextToText"),
}
"""What makes a language model of each kind of a config; the text model inside a multimodal one is made with it."""


def kind_of(config: transformers.PretrainedConfig) -> Kind:
    """The kind of language model that a config is of, by its classes, else by what transformers or its code has.

    Raises:
        FitError: it is of no language model.
    """
    classes = list(getattr(config, "architectures", None) or [])
    own_code = set(getattr(config, "auto_map", None) or {})
    if getattr(config, "is_encoder_decoder", False):
        return "seq2seq"
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
        return "causal"
    if any(name.endswith("ForMaskedLM") for name in classes):
        return "masked"
    # BERT and its likes are decoders only where they are told so.
    kinds: tuple[Kind, ...] = ("masked", "causal")
    for kind in reversed(kinds) if getattr(config, "is_decoder", False) else kinds:
        if own_code & set(AUTO_CLASSES[kind]) or _that_have(config, kind):
            return kind
    shown = printable(", ".join(classes) or str(config.model_type))
    raise FitError(f"expected a language model, got {shown}")


def auto_class_of(config: transformers.PretrainedConfig, kind: Kind) -> Any:
    """What makes the language model of a config: of several that can, the one whose class the checkpoint is of."""
    having = _that_have(config, kind)
    classes = getattr(config, "architectures", None) or ()
    named = [one for one in having if one._model_mapping[type(config)].__name__ in classes]
    return (*named, *having, getattr(transformers, AUTO_CLASSES[kind][0]))[0]


def _that_have(config: transformers.PretrainedConfig, kind: Kind) -> list[Any]:
    """The automatic classes of a kind that have a class for a config."""
    every = [getattr(transformers, name) for name in AUTO_CLASSES[kind]]
    return [one for one in every if type(config) in one._model_mapping]


def empty_model(config: transformers.PretrainedConfig, kind: Kind, trust_remote_code: bool = False) -> torch.nn.Module:
    """The language model of ``config`` on the meta device, in eval mode.

    Args:
        config: of a checkpoint.
        kind: of language model.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        EditError: it cannot be made.
    """
    options: dict[str, object] = {"trust_remote_code": trust_remote_code}
    # Both are made of plain operations, which can be followed.
    plain = {"attn_implementation": "eager", "experts_implementation": "batched_mm"}
    try:
        auto_class = auto_class_of(config, kind)
        with torch.device("meta"):
            try:
                model: torch.nn.Module = auto_class.from_config(config, **options, **plain)
            except (TypeError, ValueError):
                model = auto_class.from_config(config, **options)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EditError(f"cannot make the model of its config: {printable(said, 300)}") from error
    return model.eval()
