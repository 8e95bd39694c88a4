"""What the benchmarks share: the demo model, real rows, and the line that says where they ran."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

TASKS = ("fever", "epistemic_reasoning", "truthfulqa", "counterfact", "qa_wikidata")


def quiet() -> None:
    """No progress bars and no warnings among the figures; before transformers and lm-eval are imported."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def demo_lm(model: str | None, batch_size: int = 16) -> Any:
    """The demo model, or the checkpoint ``model``, on the CPU."""
    from cti_edits.harness.lm import load_base, read_base
    from cti_edits.models.demo_model import demo_model

    return load_base(read_base(model or str(demo_model()), ""), device="cpu", dtype="auto", batch_size=batch_size)


def machine() -> str:
    """Where and with what this ran."""
    import torch

    return f"{platform.platform()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that ``function`` takes, and what it gives."""
    begun = time.perf_counter()
    result = function()
    return time.perf_counter() - begun, result


@contextlib.contextmanager
def empty_cache() -> Iterator[Path]:
    """Inside, nothing is cached yet, and what is goes into a folder that is gone afterwards."""
    former = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            if former is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = former


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values."""
    return statistics.geometric_mean(values)
