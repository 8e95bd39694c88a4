"""Works on several matrices at once, each on a thread of its own.

What takes milliseconds gains little from two threads of BLAS, and much from another matrix beside it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def matrix_threads(most: int | None = None) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` on as many threads as torch has, or ``most``; on each, torch and OpenBLAS work with its share of them.

    With one it is Python's own ``map``, on the thread that there is.

    What is still waiting when the context is left, by an error or an interruption, is not begun.
    """
    former = torch.get_num_threads()
    workers = former if most is None else min(most, former)
    if workers == 1:
        yield map
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


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Inside, torch works with one thread: for what is small, waiting for others takes as long as the work."""
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
