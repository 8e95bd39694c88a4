"""Eigenpairs against NumPy's, and the lock that is not held."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.linalg.lapack import some_eigenpairs


@settings(deadline=None)
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
