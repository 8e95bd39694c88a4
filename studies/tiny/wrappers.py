"""Text models inside multimodal ones: the text stack is edited, the rest stays."""

from __future__ import annotations

from typing import Any

from studies.tiny.model import SIZES, TinyModel

_TEXT: dict[str, Any] = {
    name: SIZES[name]
    for name in (
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("vocab_size", "max_position_embeddings", "initializer_range", "pad_token_id", "bos_token_id", "eos_token_id"),
    )
}
_IMAGES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


def _wrapper(model_type: str, model_class: str, of_text: str, of_vision: str, **settings: Any) -> TinyModel:
    """A wrapper around a text model of the type ``of_text`` and a vision model of the type ``of_vision``."""
    more_text, more_vision = settings.pop("text", {}), settings.pop("vision", {})
    return TinyModel(
        model_type,
        model_class,
        settings={
            "text_config": {"model_type": of_text, **_TEXT, **more_text},
            "vision_config": {"model_type": of_vision, **_IMAGES, **more_vision},
            "tie_word_embeddings": False,
            **settings,
        },
        group="wrapper",
    )


_M_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}

MODELS = (
    _wrapper(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        "gemma3_text",
        "siglip_vision_model",
        text={"head_dim": 8, "sliding_window": 64, "_sliding_window_pattern": 2},
        mm_tokens_per_image=4,
    ),
    _wrapper("llava", "LlavaForConditionalGeneration", "llama", "clip_vision_model"),
    _wrapper("llava_next", "LlavaNextForConditionalGeneration", "llama", "clip_vision_model"),
    _wrapper(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        "mistral",
        "pixtral",
        text={"head_dim": 8},
        vision={"head_dim": 8},
    ),
    _wrapper(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl_text",
        "qwen2_vl",
        text=_M_ROPE,
        vision={"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2},
    ),
    _wrapper(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        "qwen2_5_vl_text",
        "qwen2_5_vl",
        text=_M_ROPE,
        vision={"depth": 1, "out_hidden_size": 32, "num_heads": 2, "hidden_size": 16},
    ),
    _wrapper("idefics3", "Idefics3ForConditionalGeneration", "llama", "idefics3_vision"),
    _wrapper("smolvlm", "SmolVLMForConditionalGeneration", "llama", "smolvlm_vision"),
    _wrapper("internvl", "InternVLForConditionalGeneration", "qwen2", "internvl_vision"),
    _wrapper(
        "mllama",
        "MllamaForConditionalGeneration",
        "mllama_text_model",
        "mllama_vision_model",
        text={"cross_attention_layers": [1], "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        vision={
            "num_global_layers": 1,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [0],
            "attention_heads": 2,
            "max_num_tiles": 1,
            "supported_aspect_ratios": [[1, 1]],
        },
    ),
)
