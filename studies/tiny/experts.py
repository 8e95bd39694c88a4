"""Tiny configurations of decoders with mixtures of experts: a parameter has a matrix for each expert."""

from __future__ import annotations

from typing import Any

from studies.tiny.fused import HEADS, INNER, LAYERS, WIDTH

EXPERTS = 4

_GROUPED: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_ROUTED: dict[str, Any] = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
_LOW_RANK: dict[str, Any] = {
    **_GROUPED,
    "num_key_value_heads": HEADS,
    "moe_intermediate_size": 40,
    "n_routed_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
}

EXPERT_TYPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        {**_GROUPED, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    ),
    "olmoe": ("OlmoeConfig", "OlmoeForCausalLM", {**_GROUPED, "num_experts": EXPERTS, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        {**_GROUPED, **_ROUTED, "shared_expert_intermediate_size": 24, "mlp_only_layers": [0]},
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        {**_GROUPED, **_ROUTED, "head_dim": 8, "mlp_only_layers": [1]},
    ),
    "deepseek_v2": ("DeepseekV2Config", "DeepseekV2ForCausalLM", _LOW_RANK),
    "deepseek_v3": ("DeepseekV3Config", "DeepseekV3ForCausalLM", {**_LOW_RANK, "head_dim": 4}),
    "granitemoe": (
        "GraniteMoeConfig",
        "GraniteMoeForCausalLM",
        {**_GROUPED, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    ),
    "gpt_oss": (
        "GptOssConfig",
        "GptOssForCausalLM",
        {**_GROUPED, "head_dim": 8, "num_local_experts": EXPERTS, "num_experts_per_tok": 2, "sliding_window": 64},
    ),
    "jamba": (
        "JambaConfig",
        "JambaForCausalLM",
        {
            **_GROUPED,
            "num_experts": EXPERTS,
            "num_experts_per_tok": 2,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "llama4_text": (
        "Llama4TextConfig",
        "Llama4ForCausalLM",
        {
            **_GROUPED,
            "intermediate_size_mlp": 40,
            "head_dim": 8,
            "num_local_experts": EXPERTS,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 64,
        },
    ),
    "dbrx": (
        "DbrxConfig",
        "DbrxForCausalLM",
        {
            "d_model": WIDTH,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "max_seq_len": 512,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": INNER, "moe_num_experts": EXPERTS, "moe_top_k": 2, "hidden_size": WIDTH},
        },
    ),
}
"""From each model type to its config's class, its model's class, and the settings of the config."""
