"""Text models inside multimodal ones: the text stack is edited, the rest stays."""

from __future__ import annotations

from typing import Any

from studies.tiny.decoders import GEMMA_4
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


_M_ROPE: dict[str, Any] = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}

_WHOLE_ROPE: dict[str, Any] = {
    "rope_parameters": {**_M_ROPE["rope_parameters"], "partial_rotary_factor": 1.0},
    "head_dim": 8,
}
_COHERE: dict[str, Any] = {
    "sliding_window": 12,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_BLOCKS: dict[str, Any] = {
    "depth": 1,
    "num_heads": 2,
    "hidden_size": 16,
    "out_hidden_size": 32,
    "deepstack_visual_indexes": [0],
    "num_position_embeddings": 4,
}
_EXPERTS: dict[str, Any] = {
    name: SIZES[name]
    for name in (
        *("num_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok", "n_shared_experts", "moe_topk"),
        *("n_group", "topk_group", "first_k_dense_replace", "moe_intermediate_size", "shared_expert_intermediate_size"),
    )
}
_LINEAR: dict[str, Any] = {
    **{name: SIZES[name] for name in ("linear_num_key_heads", "linear_num_value_heads", "head_dim")},
    **{name: SIZES[name] for name in ("linear_key_head_dim", "linear_value_head_dim")},
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_TOKENS: dict[str, Any] = {"embed_dim": 8, "num_embeddings": 8, "base_channels": 32, "channel_multiplier": [1]}
_RESAMPLER: dict[str, Any] = {
    "hidden_size": 32,
    "resampler_n_heads": 2,
    "resampler_head_dim": 8,
    "resampler_depth": 1,
    "num_key_value_heads": 2,
}

MODELS = (
    _wrapper(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        "gemma3_text",
        "siglip_vision_model",
        text={
            "head_dim": 8,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
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
    _wrapper("llava_next_video", "LlavaNextVideoForConditionalGeneration", "llama", "clip_vision_model"),
    _wrapper("llava_onevision", "LlavaOnevisionForConditionalGeneration", "qwen2", "siglip_vision_model"),
    _wrapper("video_llava", "VideoLlavaForConditionalGeneration", "llama", "clip_vision_model"),
    _wrapper("vipllava", "VipLlavaForConditionalGeneration", "llama", "clip_vision_model"),
    _wrapper("aya_vision", "AyaVisionForConditionalGeneration", "cohere2", "siglip_vision_model", text=_COHERE),
    _wrapper("cohere2_vision", "Cohere2VisionForConditionalGeneration", "cohere2", "siglip_vision_model", text=_COHERE),
    _wrapper("got_ocr2", "GotOcr2ForConditionalGeneration", "qwen2", "got_ocr2_vision", vision={"output_channels": 8}),
    _wrapper("ovis2", "Ovis2ForConditionalGeneration", "qwen2", "ovis2_vision", visual_indicator_token_ids=[3]),
    _wrapper("janus", "JanusForConditionalGeneration", "llama", "janus_vision_model", vq_config=_TOKENS),
    _wrapper("deepseek_vl", "DeepseekVLForConditionalGeneration", "llama", "siglip_vision_model"),
    _wrapper("idefics2", "Idefics2ForConditionalGeneration", "mistral", "idefics2_vision", perceiver_config=_RESAMPLER),
    _wrapper("lighton_ocr", "LightOnOcrForConditionalGeneration", "qwen3", "pixtral", vision={"head_dim": 8}),
    _wrapper("exaone4_5", "Exaone4_5_ForConditionalGeneration", "exaone4", "exaone4_5_vision", vision=_BLOCKS),
    _wrapper("video_llama_3", "VideoLlama3ForConditionalGeneration", "qwen2", "video_llama_3_vision"),
    _wrapper(
        "paddleocr_vl",
        "PaddleOCRVLForConditionalGeneration",
        "paddleocr_vl_text",
        "paddleocr_vl_vision",
        text=_WHOLE_ROPE,
    ),
    _wrapper(
        "qwen3_vl", "Qwen3VLForConditionalGeneration", "qwen3_vl_text", "qwen3_vl_vision", text=_M_ROPE, vision=_BLOCKS
    ),
    _wrapper(
        "qwen3_vl_moe",
        "Qwen3VLMoeForConditionalGeneration",
        "qwen3_vl_moe_text",
        "qwen3_vl_moe_vision",
        text={**_M_ROPE, **_EXPERTS},
        vision=_BLOCKS,
    ),
    _wrapper(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        "qwen3_5_text",
        "qwen3_5_vision",
        text={**_M_ROPE, **_LINEAR},
        vision=_BLOCKS,
    ),
    _wrapper(
        "qwen3_5_moe",
        "Qwen3_5MoeForConditionalGeneration",
        "qwen3_5_moe_text",
        "qwen3_5_moe_vision",
        text={**_M_ROPE, **_EXPERTS, **_LINEAR},
        vision=_BLOCKS,
    ),
    _wrapper("glm4v", "Glm4vForConditionalGeneration", "glm4v_text", "glm4v_vision", text=_WHOLE_ROPE, vision=_BLOCKS),
    _wrapper(
        "glm46v", "Glm46VForConditionalGeneration", "glm4v_text", "glm4v_vision", text=_WHOLE_ROPE, vision=_BLOCKS
    ),
    _wrapper(
        "glm_ocr", "GlmOcrForConditionalGeneration", "glm_ocr_text", "glm_ocr_vision", text=_WHOLE_ROPE, vision=_BLOCKS
    ),
    _wrapper(
        "glm4v_moe",
        "Glm4vMoeForConditionalGeneration",
        "glm4v_moe_text",
        "glm4v_moe_vision",
        text={**_WHOLE_ROPE, **_EXPERTS},
        vision=_BLOCKS,
    ),
    _wrapper(
        "gemma4",
        "Gemma4ForConditionalGeneration",
        "gemma4_text",
        "gemma4_vision",
        text=GEMMA_4,
        vision={"head_dim": 8, "num_key_value_heads": 2},
    ),
    _wrapper("aria", "AriaForConditionalGeneration", "aria_text", "idefics3_vision", text=_EXPERTS),
    _wrapper(
        "lfm2_vl",
        "Lfm2VlForConditionalGeneration",
        "lfm2",
        "siglip2_vision_model",
        text={"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    ),
    TinyModel(
        "fuyu", "FuyuForCausalLM", settings={"text_config": {"model_type": "persimmon", **_TEXT}}, group="wrapper"
    ),
)
