"""Tiny configurations of decoders with mixtures of experts: a parameter has a matrix for each expert."""

from __future__ import annotations

from typing import Any

from studies.tiny.fused import HEADS, INNER, LAYERS, WIDTH
from studies.tiny.model import TinyModel

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
        {**_GROUPED, "head_dim": 8, "num_local_experts": EXPERTS, "num_experts_per_tok": 2, "sliding_window": 12},
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
            "attention_chunk_size": 8,
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

_ALL_HEADS: dict[str, Any] = {"num_key_value_heads": HEADS}
_CONVOLUTIONS: dict[str, Any] = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_WINDOWS: dict[str, Any] = {
    "sliding_window": 12,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}


def _experts(model_type: str, model_class: str, **settings: Any) -> TinyModel:
    return TinyModel(model_type, model_class, settings=settings, group="experts")


MODELS = (
    *(TinyModel(name, of, settings=settings, group="experts") for name, (_, of, settings) in EXPERT_TYPES.items()),
    # Named as Mixtral's, or with dense blocks between.
    _experts("flex_olmo", "FlexOlmoForCausalLM"),
    _experts("cohere2_moe", "Cohere2MoeForCausalLM", **_WINDOWS, num_shared_experts=0),
    _experts("mellum", "MellumForCausalLM"),
    _experts("mimo_v2_flash", "MiMoV2FlashForCausalLM"),
    # With experts that every token goes to.
    _experts("flint", "FlintForCausalLM"),
    _experts("glm4_moe", "Glm4MoeForCausalLM"),
    _experts("dots1", "Dots1ForCausalLM"),
    _experts("ernie4_5_moe", "Ernie4_5_MoeForCausalLM"),
    _experts("exaone_moe", "ExaoneMoeForCausalLM"),
    _experts("hy_v3", "HYV3ForCausalLM"),
    _experts("laguna", "LagunaForCausalLM", num_experts_per_tok=3),
    _experts("kolibri1", "Kolibri1ForCausalLM"),
    _experts("solar_open", "SolarOpenForCausalLM"),
    _experts("sarvam_moe", "Glm4MoeForCausalLM"),
    _experts("afmoe", "AfmoeForCausalLM"),
    _experts("aria_text", "AriaTextForCausalLM"),
    _experts("granitemoeshared", "GraniteMoeSharedForCausalLM", shared_intermediate_size=24),
    _experts("granitemoe_swa", "GraniteMoeSWAForCausalLM"),
    _experts("hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM"),
    _experts("jetmoe", "JetMoeForCausalLM", kv_channels=8),
    # With attention by latent vectors.
    _experts("deepseek_v32", "DeepseekV32ForCausalLM", **_ALL_HEADS),
    _experts("glm4_moe_lite", "Glm4MoeLiteForCausalLM", **_ALL_HEADS),
    _experts("glm_moe_dsa", "GlmMoeDsaForCausalLM", **_ALL_HEADS),
    _experts("axk1", "AXK1ForCausalLM", **_ALL_HEADS),
    _experts("axk2", "AXK2ForCausalLM", **_ALL_HEADS),
    _experts("hy_v4", "HYV4ForCausalLM", **_ALL_HEADS),
    _experts("sarvam_mla", "DeepseekV3ForCausalLM", **_ALL_HEADS),
    # With linear attention, convolutions or state-space blocks.
    _experts("lara_mini", "LaraMiniForCausalLM", **_CONVOLUTIONS),
    _experts("qwen3_next", "Qwen3NextForCausalLM", **_CONVOLUTIONS),
    _experts("qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", **_CONVOLUTIONS),
    _experts("kimi_linear", "KimiLinearForCausalLM", **_ALL_HEADS, **_CONVOLUTIONS),
    _experts("bailing_hybrid", "BailingHybridForCausalLM", **_ALL_HEADS, layer_group_size=2),
    _experts("minimax", "MiniMaxForCausalLM"),
    _experts("lfm2_moe", "Lfm2MoeForCausalLM", layer_types=["conv", "full_attention", "conv"], num_dense_layers=1),
    _experts(
        "granitemoehybrid",
        "GraniteMoeHybridForCausalLM",
        layer_types=["mamba", "attention", "mamba"],
        shared_intermediate_size=24,
        mamba_n_heads=8,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_chunk_size=16,
    ),
    _experts(
        "nemotron_h",
        "NemotronHForCausalLM",
        num_hidden_layers=5,
        layers_block_type=["linear_attention", "moe", "full_attention", "mlp", "moe"],
        moe_shared_expert_intermediate_size=24,
        mamba_num_heads=4,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=2,
        chunk_size=16,
    ),
)
