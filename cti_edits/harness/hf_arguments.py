"""Names of arguments of lm-eval's ``hf`` model by what they decide. Without torch, which reading results needs not."""

from __future__ import annotations

QUANTIZATION = ("load_in_4bit", "load_in_8bit", "quantization_config", "autogptq", "gptqmodel")
"""Arguments of HFLM that say how weights are quantized; so do those that begin with ``bnb_``."""

RUNTIME_ARGUMENTS = (
    "device", "batch_size", "max_batch_size", "parallelize", "max_memory_per_gpu", "max_cpu_memory", "offload_folder",
    "tp_plan", "device_map", "max_memory", "offload_state_dict", "offload_buffers", "low_cpu_mem_usage", "logits_cache",
    "verify", "factorize",
)  # fmt: skip
"""Arguments that say where and how fast a model runs; they change no answer."""

DOWNLOAD_ARGUMENTS = (
    "token", "use_auth_token", "cache_dir", "local_files_only", "force_download", "resume_download", "proxies",
)  # fmt: skip
"""Arguments that say how a checkpoint is downloaded. A token is a secret and must not be in any record."""


def is_quantization(name: str) -> bool:
    """Whether an argument of HFLM says how weights are quantized."""
    return name in QUANTIZATION or name.startswith("bnb_")
