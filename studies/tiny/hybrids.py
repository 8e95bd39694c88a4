"""Causal models some of whose blocks have no attention, or no MLP: state-space models, recurrences, convolutions."""

from __future__ import annotations

from studies.tiny.model import TinyModel

MODELS = (
    TinyModel(
        "lfm2",
        "Lfm2ForCausalLM",
        group="hybrid",
        settings={
            "layer_types": ["conv", "full_attention", "conv"],
            "block_ff_dim": 48,
            "block_auto_adjust_ff_dim": False,
        },
    ),
    TinyModel(
        "falcon_h1",
        "FalconH1ForCausalLM",
        group="hybrid",
        settings={"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16},
    ),
    TinyModel(
        "recurrent_gemma",
        "RecurrentGemmaForCausalLM",
        group="hybrid",
        settings={"lru_width": 32, "attention_window_size": 64, "block_types": ["recurrent", "recurrent", "attention"]},
    ),
    TinyModel(
        "qwen3_5_text",
        "Qwen3_5ForCausalLM",
        group="hybrid",
        settings={
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
    ),
    TinyModel("olmo_hybrid", "OlmoHybridForCausalLM", group="hybrid"),
)
