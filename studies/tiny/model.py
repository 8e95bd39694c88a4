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
    # Experts.
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "num_expert_group", "topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 40),
    # Attention by latent vectors, by some of the keys, and linear.
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 64,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"), 8),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_num_heads": 4,
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
