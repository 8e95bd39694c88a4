"""Tiny random models of each supported family, from a config and a seed, with a tokenizer of single bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from studies.tiny.encoder_decoders import SEQ2SEQ
from studies.tiny.model import HEADS, INNER, LAYERS, VOCABULARY, WIDTH
from studies.tiny.tokenizer import byte_tokenizer
from studies.tiny.tokenizer import save_checkpoint as save_model

__all__ = [
    "CAUSAL",
    "EVERY",
    "HEADS",
    "INNER",
    "LAYERS",
    "MASKED",
    "SEQ2SEQ",
    "VOCABULARY",
    "WIDTH",
    "byte_tokenizer",
    "save_checkpoint",
    "tiny_model",
]


_LIKE_LLAMA: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 512,
}
_GROUPED: dict[str, Any] = {**_LIKE_LLAMA, "num_key_value_heads": 2, "head_dim": 8}

CAUSAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gptj": (
        "GPTJConfig",
        "GPTJForCausalLM",
        {"n_embd": WIDTH, "n_inner": INNER, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 512, "rotary_dim": 4},
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _GROUPED),
    "mistral": ("MistralConfig", "MistralForCausalLM", _GROUPED),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _GROUPED),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", _GROUPED),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", _GROUPED),
    "gemma3_text": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {**_GROUPED, "sliding_window": 64, "_sliding_window_pattern": 2},
    ),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": WIDTH, "n_inner": INNER, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 512},
    ),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _LIKE_LLAMA),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {
            "hidden_size": WIDTH,
            "ffn_dim": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "word_embed_proj_dim": WIDTH,
            "max_position_embeddings": 512,
        },
    ),
    "phi": ("PhiConfig", "PhiForCausalLM", _LIKE_LLAMA),
}
MASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "roberta": ("RobertaConfig", "RobertaForMaskedLM", {**_LIKE_LLAMA, "max_position_embeddings": 514}),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaForMaskedLM", {**_LIKE_LLAMA, "max_position_embeddings": 514}),
    "bert": ("BertConfig", "BertForMaskedLM", _LIKE_LLAMA),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertForMaskedLM",
        {"dim": WIDTH, "hidden_dim": INNER, "n_layers": LAYERS, "n_heads": HEADS, "max_position_embeddings": 512},
    ),
}
EVERY = {**CAUSAL, **MASKED}


def tiny_model(model_type: str, seed: int = 0, spread: float = 0.3, **overrides: Any) -> Any:
    """A random model in eval mode, float32. ``spread`` widens the weights, so that answers differ."""
    config_name, class_name, settings = {**EVERY, **SEQ2SEQ}[model_type]
    arguments = {
        "vocab_size": VOCABULARY,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": spread,
        "tie_word_embeddings": False,
        **settings,
        **overrides,
    }
    config = getattr(transformers, config_name)(**arguments)
    config.architectures = [class_name]
    torch.manual_seed(seed)
    return getattr(transformers, class_name)(config).eval()


def save_checkpoint(folder: Path, model_type: str, model: Any | None = None, **overrides: Any) -> Path:
    """A checkpoint folder (config, safetensors, tokenizer) of a tiny model, as lm-eval loads one."""
    chosen = model if model is not None else tiny_model(model_type, **overrides)
    return save_model(folder, chosen, model_type in MASKED, model_type in SEQ2SEQ)
