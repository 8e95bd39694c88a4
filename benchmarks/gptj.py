"""A whole cl-100g-100e search of GPT-J's size on a GPU: ``python -m benchmarks.gptj``.

GPT-J-6B's architecture with random float16 weights and 100 prompts made of words, FEVER's in form. Every candidate is
evaluated to its end, so that the time does not hang on which examples are right. Prints seconds phase by phase, after
loading, and the peak memory. ``--small`` takes a few narrow layers on the CPU instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.demo import empty_cache, machine, quiet
from cti_edits.progress import Silent

WORDS = 5000
CLAIM = 9
"""Words of a claim; a prompt has about 27 tokens, as FEVER's has."""


TEMPLATE = "Consider the following claim : Is this claim true or false . The claim is"


class Phases(Silent):
    """Takes the time of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        import torch

        begun = time.perf_counter()
        yield lambda _: None
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[what] = time.perf_counter() - begun

    def note(self, what: str) -> None:
        print(what)


def main() -> None:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small model on the CPU")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    import torch

    from cti_edits.harness.calibration import draw
    from cti_edits.harness.tasks import load_task
    from cti_edits.search.presets import find_preset, with_overrides
    from cti_edits.search.runner import run_search

    # Neither of them may change a winner.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    with empty_cache() as folder:
        os.environ["CTI_EDITS_DATA"] = str(folder)
        write_claims(folder / "fever.jsonl")
        lm = random_gptj(options.small, "cpu" if options.small else options.device)
        calibration = draw(load_task("fever"), 100, seed=0)
        phases = Phases()
        settings = find_preset("cl-100g-100e").settings("causal")
        if options.small:
            settings = with_overrides(settings, {"rates": (0.8, 0.1)})
        begun = time.perf_counter()
        found = run_search(lm, calibration, settings, "timed", "timed", phases, exact_stop=False)
        whole = time.perf_counter() - begun
    print(machine() + (f", {torch.cuda.get_device_name()}" if lm.device.type == "cuda" else ""))
    parameters = sum(parameter.numel() for parameter in lm.model.parameters())
    print(f"{parameters / 1e9:.2f} billion parameters, {len(found.outcomes) + len(found.stopped)} candidates")
    for what, seconds in phases.seconds.items():
        print(f"{what}: {seconds:.1f} s")
    print(f"the whole search: {whole:.1f} s")
    if lm.device.type == "cuda":
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


def write_claims(path: Path) -> None:
    """Rows of FEVER's form."""
    draw = random.Random(0)
    rows = [{"claim": " ".join(f"w{draw.randrange(WORDS)}" for _ in range(CLAIM)), "label": n % 2} for n in range(600)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def random_gptj(small: bool, device: str) -> Any:
    """GPT-J with random weights, float16 on a GPU, and a tokenizer whose tokens are words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    from cti_edits.harness.lm import EditedLM

    words = ["<pad>", "<unk>", *TEMPLATE.split()]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*words, *(f"w{n}" for n in range(WORDS))]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="<pad>", bos_token="<pad>"
    )
    config = transformers.GPTJConfig(bos_token_id=0, eos_token_id=0, tie_word_embeddings=False)
    if small:
        config.update({"n_embd": 128, "n_layer": 3, "n_head": 4, "rotary_dim": 16, "vocab_size": 5100})
    config.architectures = ["GPTJForCausalLM"]
    torch.manual_seed(0)
    dtype = torch.float32 if small else torch.float16
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = transformers.GPTJForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    return EditedLM(pretrained=model, tokenizer=tokenizer, device=device, batch_size=16)


if __name__ == "__main__":
    main()
