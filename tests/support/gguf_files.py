"""GGUF files of tiny models, as llama.cpp's converter would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

EIGHT_BITS = ("gate_proj", "q_proj", "c_fc")
"""Parts of the names of weights that are stored in 8 bits, a scale for each 32 numbers."""


def write_gguf(model: Any, file: Path, eight_bits: tuple[str, ...] = EIGHT_BITS) -> Path:
    """A tiny Llama or GPT-2 as llama.cpp has it, some of its matrices in 8 bits."""
    config = model.config
    writer = gguf.GGUFWriter(str(file), config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_token_list([f"<{number}>" for number in range(config.vocab_size)])
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.hidden_size // config.num_attention_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    architecture = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for name, tensor in _converted(model).items():
        values = np.ascontiguousarray(tensor.float().numpy())
        target = names.get_name(name, try_suffixes=(".weight", ".bias")) or name
        if any(part in name for part in eight_bits) and values.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _converted(model: Any) -> Mapping[str, torch.Tensor]:
    """The weights in the order in which llama.cpp has them."""
    config = model.config
    found: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        values = tensor
        if config.model_type == "gpt2" and tensor.ndim == 2 and ".h." in name:
            values = tensor.mT
        if config.model_type == "llama" and ("q_proj" in name or "k_proj" in name):
            # Of each head, the two halves that turn together stand side by side.
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = tensor.unflatten(0, (heads, 2, -1)).swapaxes(1, 2).flatten(0, 2)
        found[name] = values
    return found
