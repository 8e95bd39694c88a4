"""One thread each inside, and everything as before after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from cti_edits.linalg.matrix_threads import matrix_threads, openblas


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    former = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(former)


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in openblas().info()}


def test_each_works_with_one_thread() -> None:
    both = threading.Barrier(2, timeout=30)
    before = blas_threads()
    with matrix_threads() as run:

        def threads(number: int) -> tuple[int, int, set[int]]:
            # Two of them at once, or this breaks.
            both.wait()
            return number, torch.get_num_threads(), blas_threads()

        assert list(run(threads, range(4))) == [(number, 1, {1}) for number in range(4)]
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


def test_fewer_share_the_threads() -> None:
    torch.set_num_threads(4)
    with matrix_threads(2) as run:
        assert list(run(lambda _: torch.get_num_threads(), range(3))) == [2, 2, 2]
        assert blas_threads() == {2}
    assert torch.get_num_threads() == 4


def test_one_is_the_thread_that_there_is() -> None:
    before = blas_threads()
    with matrix_threads(1) as run:
        found = list(run(lambda _: (threading.get_ident(), torch.get_num_threads()), range(2)))
        assert blas_threads() == before
    assert found == [(threading.get_ident(), 2)] * 2


def test_after_an_error_nothing_more_is_begun() -> None:
    begun: list[int] = []
    go = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        go.wait(30)
        return number

    def fail() -> None:
        with matrix_threads() as run:
            run(work, range(50))
            threading.Timer(0.2, go.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(begun) <= 2
    assert torch.get_num_threads() == 2
