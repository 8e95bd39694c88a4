"""What is said of a tiny model's type, and how the model is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from cti_edits.models.architectures import Kind

WIDTH, INNER, LAYERS, HEADS, VOCABULARY = 32, 48, 3, 4, 264

SIZES: Mapping[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim", "embedding_size"), WIDTH),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "dff", "hidden_dim", "ffn_hidden_size", "d_ff"), INNER),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 512),
    "num_key_value_heads": 2,
    "head_dim": WIDTH // HEADS,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}
"""Of each type those that its config has. The weights are wide, so that answers differ."""


@dataclass(frozen=True)
class TinyModel:
    """A type of model, and how small it is.

    Attributes:
        model_type: transformers' ``config.model_type``.
        model_class: name of transformers' class.
        kind: of language models.
        settings: of its config, beside and instead of `SIZES`.
        group: what is said of it in tables: "plain", "fused", "experts", "hybrid", "wrapper", "encoder" …
    """

    model_type: str
    model_class: str
    kind: Kind = "causal"
    settings: Mapping[str, Any] = field(default_factory=dict)
    group: str = "plain"

    def config(self, **overrides: Any) -> Any:
        """Its config, with some settings changed."""
        config_class = transformers.CONFIG_MAPPING[self.model_type]
        default = config_class()
        known = {*default.to_dict(), *getattr(default, "attribute_map", {})}
        sizes = {name: value for name, value in SIZES.items() if name in known}
        config = config_class(**{**sizes, **self.settings, **overrides})
        config.architectures = [self.model_class]
        return config

    def build(self, seed: int = 0, **overrides: Any) -> Any:
        """The model in eval mode, float32."""
        config = self.config(**overrides)
        torch.manual_seed(seed)
        return getattr(transformers, self.model_class)(config).eval()
