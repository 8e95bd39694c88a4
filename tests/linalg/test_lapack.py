"""Eigenpairs against NumPy's, and the lock that is not held."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.linalg import lapack
from cti_edits.linalg.lapack import MAX_SIZE, some_eigenpairs, takes_32_bit_integers


@given(
    size=st.integers(1, 60),
    places=st.tuples(st.integers(0, 59), st.integers(0, 59)),
    seed=st.integers(0, 1000),
    cut=st.booleans(),
)
def test_eigenpairs(size: int, places: tuple[int, int], seed: int, cut: bool) -> None:
    first, last = sorted(place % size for place in places)
    drawn = torch.randn(size + 2, size + 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    lower = drawn[1:-1, 1:-1] if cut else drawn[1:-1, 1:-1].contiguous()
    before = lower.clone()
    values, vectors = some_eigenpairs(lower, first, last)
    # The upper triangle is another matrix's, and nothing is written.
    assert torch.equal(lower, before)
    symmetric = lower.tril() + lower.tril(-1).mT
    expected = np.linalg.eigvalsh(symmetric.numpy())[first : last + 1]
    scale = float(torch.linalg.matrix_norm(symmetric))
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-13 * scale)
    assert vectors.shape == (size, last - first + 1)
    torch.testing.assert_close(symmetric @ vectors, vectors * values, rtol=0, atol=1e-13 * scale)
    identity = torch.eye(len(values), dtype=torch.float64)
    torch.testing.assert_close(vectors.mT @ vectors, identity, rtol=0, atol=1e-12)


def test_what_lapack_cannot_solve_is_an_error() -> None:
    with pytest.raises(EditError, match="dsyevr found no eigenpairs"):
        some_eigenpairs(torch.eye(3, dtype=torch.float64), 2, 1)


INT32 = lapack._signature()


@pytest.mark.parametrize("wide", ["__pyx_t_5scipy_6linalg_13cython_lapack_blas_int *", "long *", "npy_int64 *"])
def test_the_library_s_integers_are_looked_at(wide: str) -> None:
    assert takes_32_bit_integers(INT32)
    assert not takes_32_bit_integers(INT32.replace("int *", wide))
    assert not takes_32_bit_integers(INT32.replace("int *", "int *, int *", 1))
    assert not takes_32_bit_integers("")


def test_a_library_of_wider_integers_is_called_by_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calling it with 32 bits would read and write past what is there."""
    drawn = torch.randn(30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = some_eigenpairs(drawn, 3, 7)
    monkeypatch.setattr(lapack, "_signature", lambda: INT32.replace("int *", "long *"))
    monkeypatch.setattr(lapack, "_dsyevr", lambda: pytest.fail("the routine was called all the same"))
    theirs = some_eigenpairs(drawn, 3, 7)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours[1].abs(), theirs[1].abs(), rtol=0, atol=1e-10)


def test_a_matrix_that_32_bits_cannot_index_is_refused() -> None:
    assert MAX_SIZE**2 < 2**31 <= (MAX_SIZE + 1) ** 2
    assert 26 * MAX_SIZE < 2**31
    # No memory is taken for it.
    large = torch.zeros(1, 1, dtype=torch.float64).expand(MAX_SIZE + 1, MAX_SIZE + 1)
    with pytest.raises(EditError, match=r"expected a matrix of at most 46,340 rows, .* got 46,341"):
        some_eigenpairs(large, 0, 1)


def test_other_threads_go_on_meanwhile() -> None:
    matrix = torch.randn(2000, 2000, dtype=torch.float64)
    lasting: list[float] = []

    def solve() -> None:
        begun = time.perf_counter()
        some_eigenpairs(matrix, 0, 5)
        lasting.append(time.perf_counter() - begun)

    longest = 0.0
    solver = threading.Thread(target=solve)
    solver.start()
    former = time.perf_counter()
    while solver.is_alive():
        time.sleep(0.001)
        longest, former = max(longest, time.perf_counter() - former), time.perf_counter()
    assert longest < lasting[0] / 2
