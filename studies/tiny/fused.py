"""Tiny configurations of decoders with fused weights: several matrices are rows of one."""

from __future__ import annotations

from typing import Any

WIDTH, INNER, LAYERS, HEADS = 32, 48, 3, 4

_LIKE_LLAMA: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 512,
}
_GROUPED: dict[str, Any] = {**_LIKE_LLAMA, "num_key_value_heads": 2}
_LIKE_GPT2: dict[str, Any] = {
    "n_embd": WIDTH,
    "n_inner": INNER,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": 512,
}
_FALCON: dict[str, Any] = {
    "hidden_size": WIDTH,
    "ffn_hidden_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 512,
}

FUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "phi3": ("Phi3Config", "Phi3ForCausalLM", {**_GROUPED, "original_max_position_embeddings": 512}),
    "glm": ("GlmConfig", "GlmForCausalLM", {**_GROUPED, "head_dim": 8}),
    "glm4": ("Glm4Config", "Glm4ForCausalLM", {**_GROUPED, "head_dim": 8}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _LIKE_LLAMA),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS}),
    "falcon": (
        "FalconConfig",
        "FalconForCausalLM",
        {**_FALCON, "num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", "GPTBigCodeForCausalLM", _LIKE_GPT2),
}
"""From each model type to its config's class, its model's class, and the settings of the config."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon, one key for all heads": ("falcon", {**_FALCON, "new_decoder_architecture": False, "multi_query": True}),
    "falcon, each head its key": (
        "falcon",
        {**_FALCON, "new_decoder_architecture": False, "multi_query": False, "num_kv_heads": HEADS},
    ),
    "gpt_bigcode, each head its key": ("gpt_bigcode", {**_LIKE_GPT2, "multi_query": False}),
}
"""Other settings of a model type, in which the rows lie elsewhere."""
