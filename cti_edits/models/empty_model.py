"""A language model of a config on the meta device: its modules and shapes, without weights, in well under a second."""

from __future__ import annotations

import torch
import transformers

from cti_edits.errors import EditError, FitError, printable
from cti_edits.models.architectures import Kind

AUTO_CLASSES: dict[Kind, str] = {
    "masked": "AutoModelForMaskedLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "causal": "AutoModelForCausalLM",
}
"""What makes a language model of each kind of a config; of several that can, the first one that fits is taken."""


def kind_of(config: transformers.PretrainedConfig) -> Kind:
    """The kind of language model that a config is of, by its classes, else by what transformers or its code has.

    Raises:
        FitError: it is of no language model.
    """
    classes = list(getattr(config, "architectures", None) or [])
    own_code = set(getattr(config, "auto_map", None) or {})
    if getattr(config, "is_encoder_decoder", False):
        return "seq2seq"
    if any(name.endswith("LMHeadModel") for name in classes):
        return "causal"
    for kind, auto_class in AUTO_CLASSES.items():
        if any(name.endswith(auto_class.removeprefix("AutoModel")) for name in classes):
            return kind
    # BERT and its likes are decoders only where they are told so.
    for kind in ("causal", "masked") if getattr(config, "is_decoder", False) else ("masked", "causal"):
        auto_class = AUTO_CLASSES[kind]
        if auto_class in own_code or type(config) in getattr(transformers, auto_class)._model_mapping:
            return kind
    shown = printable(", ".join(classes) or str(config.model_type))
    raise FitError(f"expected a language model, got {shown}")


def empty_model(config: transformers.PretrainedConfig, kind: Kind, trust_remote_code: bool = False) -> torch.nn.Module:
    """The language model of ``config`` on the meta device, in eval mode.

    Args:
        config: of a checkpoint.
        kind: of language model.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        EditError: it cannot be made.
    """
    auto_class = getattr(transformers, AUTO_CLASSES[kind])
    options: dict[str, object] = {"trust_remote_code": trust_remote_code}
    # Both are made of plain operations, which can be followed.
    plain = {"attn_implementation": "eager", "experts_implementation": "batched_mm"}
    try:
        with torch.device("meta"):
            try:
                model: torch.nn.Module = auto_class.from_config(config, **options, **plain)
            except (TypeError, ValueError):
                model = auto_class.from_config(config, **options)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EditError(f"cannot make the model of its config: {printable(said, 300)}") from error
    return model.eval()
