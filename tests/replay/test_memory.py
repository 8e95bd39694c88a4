"""The one memory policy."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from cti_edits.replay.memory import GPU_ROWS, BatchSize, default_rows, within_memory
from tests.support.small_searches import OUT_OF_MEMORY


def test_fewer_rows_then_shorter_ones_and_at_last_nothing_kept() -> None:
    size = BatchSize(4, 8)
    seen = []
    while size.halve(several=True, recomputable=True):
        seen.append((size.rows, size.row_tokens, size.frugal, size.tokens))
    assert seen == [
        (2, 8, False, 16),
        (1, 8, False, 8),
        (1, 4, False, 4),
        (1, 2, False, 2),
        (1, 1, False, 1),
        (1, 1, True, 1),
    ]


def test_rows_of_one_example_get_no_shorter() -> None:
    size = BatchSize(1, 8)
    assert size.halve(several=False, recomputable=True)
    assert (size.row_tokens, size.frugal) == (8, True)
    assert not size.halve(several=False, recomputable=True)
    assert not BatchSize(1, 8).halve(several=False, recomputable=False)


def test_one_example_a_batch_says_whether_that_is_new() -> None:
    size = BatchSize(1, 2)
    assert size.one_example_a_batch()
    assert (size.rows, size.row_tokens) == (1, 1)
    assert not size.one_example_a_batch()


def test_rows_go_by_the_kind_of_device_alone() -> None:
    assert default_rows("cpu") == default_rows(torch.device("cpu")) == 1
    assert default_rows("cuda:3") == default_rows("mps") == GPU_ROWS


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(OUT_OF_MEMORY),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
)
def test_it_runs_again_after_each_exhaustion(error: RuntimeError) -> None:
    took: list[str] = []

    def run() -> int:
        if len(took) < 2:
            raise error
        return 7

    assert within_memory(run, lambda: took.append("less")) == 7
    assert took == ["less", "less"]


@pytest.mark.parametrize("error", [RuntimeError("a kernel is missing"), ValueError("wrong"), KeyboardInterrupt()])
def test_another_error_is_not_swallowed(error: BaseException) -> None:
    took: list[str] = []

    def run() -> None:
        raise error

    with pytest.raises(type(error)):
        within_memory(run, lambda: took.append("less"))
    assert took == []


def test_what_cannot_take_less_ends_it() -> None:
    def run() -> None:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    def refuse() -> None:
        raise ValueError("nothing is left to take less of")

    with pytest.raises(ValueError, match="nothing is left"):
        within_memory(run, refuse)


def test_the_tensors_of_what_failed_are_gone_when_it_runs_again() -> None:
    """An exception holds its frames, and they hold what filled the memory."""
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def run() -> None:
        gc.collect()
        alive.extend(one() is not None for one in held)
        if len(held) < 2:
            large = torch.zeros(10)
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    within_memory(run, lambda: None)
    assert alive == [False] * 3
