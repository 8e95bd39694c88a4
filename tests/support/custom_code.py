"""A checkpoint whose config, model or tokenizer is code of its own, which leaves a file behind when it runs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.tiny_models import save_checkpoint

_MODEL = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({ran!r}).touch()

class CustomConfig(LlamaConfig):
    model_type = "custom_llama"

class CustomForCausalLM(LlamaForCausalLM):
    config_class = CustomConfig
"""
_TOKENIZER = """
from pathlib import Path
from transformers import PreTrainedTokenizerFast

Path({ran!r}).touch()

class CustomTokenizer(PreTrainedTokenizerFast):
    pass
"""


def save_custom_code(folder: Path, part: str) -> tuple[Path, Path]:
    """A tiny Llama whose "model" or "tokenizer" is custom; the folder, and the file that the code makes."""
    save_checkpoint(folder, "llama")
    ran = folder.parent / f"{folder.name}-ran"
    if part == "model":
        (folder / "custom.py").write_text(_MODEL.format(ran=str(ran)))
        _update(
            folder / "config.json",
            model_type="custom_llama",
            architectures=["CustomForCausalLM"],
            auto_map={"AutoConfig": "custom.CustomConfig", "AutoModelForCausalLM": "custom.CustomForCausalLM"},
        )
    else:
        (folder / "custom.py").write_text(_TOKENIZER.format(ran=str(ran)))
        _update(
            folder / "tokenizer_config.json",
            tokenizer_class="CustomTokenizer",
            auto_map={"AutoTokenizer": [None, "custom.CustomTokenizer"]},
        )
    return folder, ran


def _update(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
