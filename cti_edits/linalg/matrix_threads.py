"""Several matrices at once, each in a thread of its own.

A decomposition that takes milliseconds gains little from a second thread of BLAS, but two of them side by side do.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import torch
from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")


class Map(Protocol):
    """A function with the signature of Python's own ``map``."""

    def __call__(self, function: Callable[..., Result], /, *iterables: Iterable[Any]) -> Iterator[Result]:
        """The results of ``function`` for the first, second, … items of the iterables, in that order."""


@contextlib.contextmanager
def matrix_threads(most: int | None = None) -> Iterator[Map]:
    """A ``map`` that works on several matrices at once, inside a ``with`` block.

    There are as many threads as torch has, or ``most``; each gets its share of the threads of torch and OpenBLAS. With
    one thread it is Python's own ``map``, in the thread that calls it.

    Calls that have not begun when the block is left, by an error or an interruption, are dropped.
    """
    former = torch.get_num_threads()
    workers = former if most is None else min(most, former)
    if workers == 1:
        yield _map_in_turn
        return
    each = former // workers
    with openblas().limit(limits=each):
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,))
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)
            # MKL has one number for all threads, which the pool's have set.
            torch.set_num_threads(former)


def _map_in_turn(function: Callable[..., Result], /, *iterables: Iterable[Any]) -> Iterator[Result]:
    return map(function, *iterables)


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Inside, torch uses one thread: waiting for the others takes as long as the work where a matrix is small."""
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)


@functools.cache
def openblas() -> ThreadpoolController:
    """The OpenBLAS libraries in this process, SciPy's among them; torch on x86 brings another library."""
    return ThreadpoolController().select(internal_api="openblas")
