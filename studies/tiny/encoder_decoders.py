"""Tiny encoder-decoders of every known type: the names of config and class, and what the config says.

Their stacks have different numbers of blocks, and of inner features where a config has two.
"""

from __future__ import annotations

from typing import Any

WIDTH, INNER, HEADS = 32, 48, 4

# transformers makes a cache with as many layers as the encoder has, so that the decoder may not have more.
_LIKE_T5: dict[str, Any] = {
    "d_model": WIDTH,
    "d_ff": INNER,
    "d_kv": 8,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": HEADS,
    "n_positions": 512,
    "decoder_start_token_id": 0,
}
_GATED: dict[str, Any] = {**_LIKE_T5, "feed_forward_proj": "gated-gelu"}
_LIKE_BART: dict[str, Any] = {
    "d_model": WIDTH,
    "encoder_ffn_dim": INNER,
    "decoder_ffn_dim": 40,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "max_position_embeddings": 512,
    "init_std": 0.3,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
    "tie_word_embeddings": True,
}

SEQ2SEQ: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": ("T5Config", "T5ForConditionalGeneration", {**_LIKE_T5, "feed_forward_proj": "relu"}),
    "mt5": ("MT5Config", "MT5ForConditionalGeneration", _GATED),
    "umt5": ("UMT5Config", "UMT5ForConditionalGeneration", _GATED),
    "longt5": ("LongT5Config", "LongT5ForConditionalGeneration", {**_GATED, "local_radius": 7}),
    "bart": ("BartConfig", "BartForConditionalGeneration", _LIKE_BART),
    "mbart": ("MBartConfig", "MBartForConditionalGeneration", _LIKE_BART),
    "pegasus": ("PegasusConfig", "PegasusForConditionalGeneration", _LIKE_BART),
    "pegasus_x": ("PegasusXConfig", "PegasusXForConditionalGeneration", {**_LIKE_BART, "block_size": 16}),
    "marian": ("MarianConfig", "MarianMTModel", {**_LIKE_BART, "decoder_start_token_id": 0}),
    "blenderbot": ("BlenderbotConfig", "BlenderbotForConditionalGeneration", _LIKE_BART),
    "blenderbot-small": ("BlenderbotSmallConfig", "BlenderbotSmallForConditionalGeneration", _LIKE_BART),
    "plbart": ("PLBartConfig", "PLBartForConditionalGeneration", _LIKE_BART),
    "m2m_100": ("M2M100Config", "M2M100ForConditionalGeneration", _LIKE_BART),
    "mvp": ("MvpConfig", "MvpForConditionalGeneration", _LIKE_BART),
    "led": (
        "LEDConfig",
        "LEDForConditionalGeneration",
        {
            **_LIKE_BART,
            "attention_window": 16,
            "max_encoder_position_embeddings": 512,
            "max_decoder_position_embeddings": 512,
        },
    ),
}
