"""Quantized weights: how a model or checkpoint has them, and what to load in their place.

What is edited is a plain matrix. In a quantized model those that were left as they are (the output layer, what
``modules_to_not_convert`` names) are edited as in any other one; the others are refused with one line.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from cti_edits.errors import printable
from cti_edits.models.stored_tensor import TORCH_NAMES

METHODS: Mapping[str, str] = {
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "gptq": "GPTQ",
    "awq": "AWQ",
    "fp8": "FP8",
    "fbgemm_fp8": "FP8",
    "mxfp4": "MXFP4",
    "gguf": "GGUF",
}
"""From transformers' ``quant_method`` to what people call it. Others keep their name."""

CLASSES: Mapping[str, str] = {
    "Linear4bit": "bitsandbytes",
    "Linear8bitLt": "bitsandbytes",
    "QuantLinear": "GPTQ",
    "WQLinear_GEMM": "AWQ",
    "WQLinear_GEMV": "AWQ",
    "FP8Linear": "FP8",
    "FbgemmFp8Linear": "FP8",
    "Mxfp4GptOssExperts": "MXFP4",
}
"""Layers that hold quantized weights, and whose they are."""

PACKED = ("qweight", "qzeros", "gate_up_proj_blocks", "down_proj_blocks")
"""Names under which a layer keeps packed numbers in the place of a weight."""

WITHOUT = "without quantization_config, load_in_4bit or load_in_8bit"
INSTEAD: Mapping[str, str] = {
    "bitsandbytes": f"load the model {WITHOUT}",
    "MXFP4": "load it dequantized (Mxfp4Config(dequantize=True))",
    "FP8": "load a bfloat16 checkpoint of it, or one dequantized",
}
OTHERWISE = "load the checkpoint that it was quantized from"


PLAIN = {getattr(torch, name) for name in TORCH_NAMES.values()}
"""The dtypes in which the numbers are the weight itself."""


def is_plain(parameter: object) -> bool:
    """Whether a parameter holds numbers that are the weight itself, of a dtype that an edit can have."""
    return isinstance(parameter, torch.nn.Parameter) and parameter.dtype in PLAIN


def quantized_layer(module: torch.nn.Module, name: str, parameter: object, config: object) -> str | None:
    """Why a layer cannot be edited that holds quantized weights, and what to load; None if it holds none.

    Args:
        module: the layer.
        name: of it, for the message.
        parameter: what it has where a plain layer has its weight.
        config: of the model, which may say how it was quantized.
    """
    if is_plain(parameter):
        return None
    kind = CLASSES.get(type(module).__name__)
    packed = any(hasattr(module, one) for one in PACKED)
    narrow = isinstance(parameter, torch.Tensor) and parameter.dtype not in PLAIN
    if kind is None and not packed and not narrow:
        return None
    kind = method_of_config(config) or kind or "an unknown method"
    return f"{name} is quantized by {kind} ({type(module).__name__}): {INSTEAD.get(kind, OTHERWISE)}"


def quantized_checkpoint(quant_method: str | None) -> str | None:
    """That a checkpoint is quantized, and what to use in its place; None if its config says no such thing.

    Args:
        quant_method: what the config says.
    """
    if quant_method is None:
        return None
    return f"it is quantized by {METHODS.get(quant_method, printable(quant_method))}: {OTHERWISE}"


def method_of_config(config: object) -> str | None:
    """What people call the method by which a model of this config is quantized; None if it is not."""
    found = getattr(config, "quantization_config", None)
    method = found.get("quant_method") if isinstance(found, Mapping) else getattr(found, "quant_method", None)
    if method is None:
        return None
    value = str(getattr(method, "value", method))
    return METHODS.get(value, printable(value))
