"""The one memory policy: where the memory is exhausted, half as much goes through the model at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate.utils.memory import (  # type: ignore[import-untyped]
    clear_device_cache,
    should_reduce_batch_size,
)

from cti_edits.errors import MachineError, printable
from cti_edits.replay.packed_rows import ROW_TOKENS

GPU_ROWS = 16
"""Packed rows in one pass on a GPU: 4,096 tokens keep one busy."""

T = TypeVar("T")


@dataclass
class BatchSize:
    """How much goes through a model at once.

    Attributes:
        rows: packed rows of a batch.
        row_tokens: tokens of a row, at most, where it holds more than one example.
        frugal: whether nothing is kept in memory that can be computed again.
    """

    rows: int
    row_tokens: int = ROW_TOKENS
    frugal: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of a batch, at most."""
        return self.rows * self.row_tokens

    def halve(self, several: bool, recomputable: bool) -> bool:
        """Take less memory: fewer rows first, then shorter ones, and at last nothing kept.

        Args:
            several: whether some batch holds more than one example.
            recomputable: whether anything is kept that could be computed again.

        Returns:
            Whether there was anything to take less of.
        """
        if self.rows > 1:
            self.rows //= 2
        elif several and self.row_tokens > 1:
            self.row_tokens //= 2
        elif recomputable and not self.frugal:
            self.frugal = True
        else:
            return False
        return True

    def one_example_a_batch(self) -> bool:
        """Have each example by itself; False if that is so already."""
        if (self.rows, self.row_tokens) == (1, 1):
            return False
        self.rows = self.row_tokens = 1
        return True


def default_rows(device: torch.device | str) -> int:
    """Packed rows in one pass: by the kind of device alone, so that the same seed gives the same figures.

    One on a CPU, where 128 to 2,048 tokens take the same time a token.
    """
    return 1 if torch.device(device).type == "cpu" else GPU_ROWS


def within_memory(run: Callable[[], T], take_less: Callable[[], None]) -> T:
    """What ``run`` gives, called again after ``take_less`` whenever the memory is exhausted.

    Args:
        run: what may exhaust the memory.
        take_less: makes it take less; raises where it cannot take any less.
    """
    while True:
        try:
            return run()
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        # Outside of the handler, which would keep the tensors of the frames that failed.
        take_less()
        clear_device_cache(garbage_collection=True)


def machine_gave_out(error: Exception) -> str | None:
    """What the machine lacks, by an error of Python or torch; None for an error of another kind."""
    if isinstance(error, MachineError):
        return str(error)
    said = printable(str(error).partition("\n")[0])
    if isinstance(error, MemoryError) or should_reduce_batch_size(error):
        return f"the memory is exhausted ({said or type(error).__name__}); a narrower dtype or another device may fit"
    lost = isinstance(error, torch.AcceleratorError) or "CUDA error" in said or "HIP error" in said
    return f"the device gave out ({said})" if lost else None
