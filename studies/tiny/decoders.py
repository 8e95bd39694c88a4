"""Causal models whose matrices are layers of their own, plain or gated."""

from __future__ import annotations

from typing import Any

from studies.tiny.model import HEADS, TinyModel

_SLIDING: dict[str, Any] = {"sliding_window": 64}

MODELS = (
    # Named as Llama's.
    TinyModel("llama", "LlamaForCausalLM"),
    TinyModel("mistral", "MistralForCausalLM"),
    TinyModel("ministral", "MinistralForCausalLM", settings=_SLIDING),
    TinyModel("ministral3", "Ministral3ForCausalLM"),
    TinyModel("qwen2", "Qwen2ForCausalLM"),
    TinyModel("qwen3", "Qwen3ForCausalLM"),
    TinyModel("gemma", "GemmaForCausalLM"),
    TinyModel("gemma2", "Gemma2ForCausalLM", settings={**_SLIDING, "query_pre_attn_scalar": 8}),
    TinyModel("gemma3_text", "Gemma3ForCausalLM", settings={**_SLIDING, "_sliding_window_pattern": 2}),
    TinyModel("vaultgemma", "VaultGemmaForCausalLM", settings=_SLIDING),
    TinyModel("granite", "GraniteForCausalLM"),
    TinyModel("olmo", "OlmoForCausalLM"),
    TinyModel("olmo2", "Olmo2ForCausalLM"),
    TinyModel("olmo3", "Olmo3ForCausalLM", settings=_SLIDING),
    TinyModel("cohere", "CohereForCausalLM"),
    TinyModel("cohere2", "Cohere2ForCausalLM", settings=_SLIDING),
    TinyModel("stablelm", "StableLmForCausalLM"),
    TinyModel("smollm3", "SmolLM3ForCausalLM"),
    TinyModel("helium", "HeliumForCausalLM"),
    TinyModel("exaone4", "Exaone4ForCausalLM", settings=_SLIDING),
    TinyModel("seed_oss", "SeedOssForCausalLM"),
    TinyModel("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM"),
    TinyModel("ernie4_5", "Ernie4_5ForCausalLM"),
    TinyModel("diffllama", "DiffLlamaForCausalLM"),
    TinyModel("bitnet", "BitNetForCausalLM"),
    TinyModel("cwm", "CwmForCausalLM", settings=_SLIDING),
    # Without a gate.
    TinyModel("nemotron", "NemotronForCausalLM"),
    TinyModel("arcee", "ArceeForCausalLM"),
    TinyModel("apertus", "ApertusForCausalLM"),
    TinyModel("starcoder2", "Starcoder2ForCausalLM"),
    TinyModel("phi", "PhiForCausalLM"),
    TinyModel("nanochat", "NanoChatForCausalLM"),
    # With names of their own.
    TinyModel("gpt2", "GPT2LMHeadModel"),
    TinyModel("openai-gpt", "OpenAIGPTLMHeadModel"),
    TinyModel("gptj", "GPTJForCausalLM", settings={"rotary_dim": 4}),
    TinyModel(
        "gpt_neo",
        "GPTNeoForCausalLM",
        settings={"attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 64},
    ),
    TinyModel("gpt_neox_japanese", "GPTNeoXJapaneseForCausalLM"),
    TinyModel("codegen", "CodeGenForCausalLM", settings={"rotary_dim": 4}),
    TinyModel("opt", "OPTForCausalLM"),
    TinyModel("xglm", "XGLMForCausalLM"),
    TinyModel("biogpt", "BioGptForCausalLM"),
    TinyModel("ctrl", "CTRLLMHeadModel"),
    TinyModel("mpt", "MptForCausalLM"),
    TinyModel("persimmon", "PersimmonForCausalLM"),
    TinyModel(
        "minicpm3",
        "MiniCPM3ForCausalLM",
        settings={
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": HEADS,
        },
    ),
    TinyModel(
        "youtu",
        "YoutuForCausalLM",
        settings={
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": HEADS,
        },
    ),
)
