"""Leading eigenvectors by Lanczos: the exact ones, or refused."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cti_edits.linalg import gram, lanczos
from cti_edits.linalg.gram import accurate_cut, gram_matrix, truncated_by_gram
from cti_edits.linalg.lanczos import Cut, cut_by, leading_eigenvectors, none_missed
from cti_edits.linalg.lowrank import truncate
from tests.linalg.test_gram import NARROW, check_as_exact, share_of_bits
from tests.support.matrices import random_block, with_spectrum

SIZE = 160


def symmetric(values: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A float64 matrix with eigenvalues ``values`` and random eigenvectors, and these."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))[0]
    matrix = (vectors * values) @ vectors.mT
    return (matrix + matrix.mT) / 2, vectors


def falling(size: int = SIZE) -> torch.Tensor:
    """Eigenvalues from 2 to 1 and then, below a gap, from 0.5 to 0."""
    leaders = torch.linspace(2, 1, 6, dtype=torch.float64)
    return torch.cat([leaders, torch.linspace(0.5, 0, size - 6, dtype=torch.float64)])


def within(error: float, cut: Cut) -> bool:
    """Whether the residual is below ``error``."""
    return cut.error < error and cut.above > cut.below


def spans_differ(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The sine of the largest angle between them."""
    return float(torch.linalg.matrix_norm(found - expected @ (expected.mT @ found), 2))


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small matrix has no room for blocks of `BLOCK` in `MOST` of its size."""
    monkeypatch.setattr(lanczos, "MOST", 1.0)
    monkeypatch.setattr(lanczos, "BLOCK", 2)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Blocks of any size try Lanczos; what came of each try is noted."""
    taken: list[bool] = []

    def noted(*arguments: object) -> torch.Tensor | None:
        basis: torch.Tensor | None = leading_eigenvectors(*arguments)  # type: ignore[arg-type]
        taken.append(basis is not None)
        return basis

    monkeypatch.setattr(gram, "LARGE", 1)
    monkeypatch.setattr(gram, "FEW", 1 / 10)
    monkeypatch.setattr(gram, "leading_eigenvectors", noted)
    return taken


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_leading_vectors_are_the_exact_ones(rank: int) -> None:
    matrix, vectors = symmetric(falling())
    found = leading_eigenvectors(matrix.clone(), rank, functools.partial(within, 1e-12))
    assert found is not None
    assert found.shape == (SIZE, rank)
    torch.testing.assert_close(found.mT @ found, torch.eye(rank, dtype=torch.float64), rtol=0.0, atol=1e-14)
    assert spans_differ(found, vectors[:, :rank]) < 1e-10


def test_only_the_lower_triangle_is_read() -> None:
    """At a size where panels are mirrored that lie beside the diagonal."""
    size = lanczos.PANEL + 70
    matrix, vectors = symmetric(falling(size))
    nothing_above = matrix.tril() + torch.full_like(matrix, math.nan).triu(1)
    found = leading_eigenvectors(nothing_above, 6, functools.partial(within, 1e-12))
    assert found is not None
    assert spans_differ(found, vectors[:, :6]) < 1e-12


def test_the_caller_says_how_accurate() -> None:
    matrix, vectors = symmetric(falling())
    errors = []
    for error in (1e-2, 1e-6, 1e-12):
        found = leading_eigenvectors(matrix.clone(), 6, functools.partial(within, error))
        assert found is not None
        errors.append(spans_differ(found, vectors[:, :6]))
        # Davis and Kahan, for a gap of 0.5.
        assert errors[-1] <= 2 * error
    assert errors == sorted(errors, reverse=True)


def test_it_ends_where_nothing_is_accurate_enough() -> None:
    matrix, _ = symmetric(falling())
    looks: list[Cut] = []

    def never(cut: Cut) -> bool:
        looks.append(cut)
        return False

    assert leading_eigenvectors(matrix, 6, never) is None
    assert looks


def test_no_room_for_as_many_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanczos, "MOST", 0.3)
    assert leading_eigenvectors(torch.eye(20, dtype=torch.float64), 18, functools.partial(within, 1.0)) is None
    assert leading_eigenvectors(torch.eye(5, dtype=torch.float64), 1, functools.partial(within, 1.0)) is None


def test_a_basis_that_is_no_longer_orthonormal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vectors are made so before anything is concluded from them."""
    matrix, vectors = symmetric(falling())
    exact_pairs = lanczos._Krylov.leading

    def skewed(krylov: lanczos._Krylov, rank: int) -> tuple[torch.Tensor, float]:
        found, beyond = exact_pairs(krylov, rank)
        return torch.eye(rank, dtype=torch.float64).add(0.1) @ found, beyond

    monkeypatch.setattr(lanczos._Krylov, "leading", skewed)
    found = leading_eigenvectors(matrix, 6, functools.partial(within, 1e-12))
    assert found is not None
    torch.testing.assert_close(found.mT @ found, torch.eye(6, dtype=torch.float64), rtol=0.0, atol=1e-14)
    assert spans_differ(found, vectors[:, :6]) < 1e-10


def test_the_global_generator_is_left_alone() -> None:
    matrix, _ = symmetric(falling())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = leading_eigenvectors(matrix.clone(), 6, functools.partial(within, 1e-9))
    assert torch.equal(torch.rand(3), expected)
    again = leading_eigenvectors(matrix.clone(), 6, functools.partial(within, 1e-9))
    assert first is not None
    assert again is not None
    assert torch.equal(first, again)


def test_a_basis_that_lacks_a_leading_vector_is_refused() -> None:
    """Eigenvectors 1 to 7 but for one: nothing is wrong with them, only the test of what is left over can tell."""
    matrix, vectors = symmetric(falling())
    for missed in range(6):
        rows = torch.cat([vectors[:, :missed], vectors[:, missed + 1 : 7]], dim=1).mT
        projected, cut = cut_by(matrix, rows, beyond=0.4)
        assert within(1e-12, cut)
        assert not none_missed(matrix, rows, projected, cut)
    rows = vectors[:, :6].mT
    projected, cut = cut_by(matrix, rows, beyond=0.5)
    assert none_missed(matrix, rows, projected, cut)


def test_the_threshold_is_what_is_tested() -> None:
    """The next eigenvalue is 0.5: a threshold above it holds; one below it does not, nor one within rounding."""
    matrix, vectors = symmetric(falling())
    rows = vectors[:, :6].mT
    projected, cut = cut_by(matrix, rows, beyond=0.5)
    for threshold, holds in [(0.5 + 1e-9, True), (0.5 - 1e-9, False), (0.5 + 1e-15, False)]:
        assert none_missed(matrix, rows, projected, dataclasses.replace(cut, below=threshold)) is holds


def test_an_iteration_that_misses_a_vector_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is orthogonal to the first eigenvector, on a diagonal matrix where rounding does not bring it in."""
    matrix = torch.diag(falling())
    exact_start = torch.randn

    def orthogonal(*arguments: object, **options: object) -> torch.Tensor:
        start: torch.Tensor = exact_start(*arguments, **options)  # type: ignore[call-overload]
        start[:, 0] = 0
        return start

    assert leading_eigenvectors(matrix.clone(), 3, functools.partial(within, 1e-10)) is not None
    monkeypatch.setattr(torch, "randn", orthogonal)
    assert leading_eigenvectors(matrix.clone(), 3, functools.partial(within, 1e-10)) is None


@pytest.mark.parametrize("copies", [2, 6])
def test_one_eigenvalue_many_times(copies: int) -> None:
    """The leading one, not across the cut: found, or refused where a block does not hold all of its vectors."""
    values = torch.cat([torch.full((copies,), 3.0, dtype=torch.float64), torch.linspace(1, 0, 200).double()])
    matrix, vectors = symmetric(values)
    found = leading_eigenvectors(matrix, copies, functools.partial(within, 1e-9))
    if copies <= lanczos.BLOCK:
        assert found is not None
    if found is not None:
        assert spans_differ(found, vectors[:, :copies]) < 1e-8


def test_a_matrix_with_fewer_ranks_than_the_basis() -> None:
    """The Krylov space ends early: the blocks after that are rounding errors."""
    values = torch.cat([torch.linspace(2, 1, 4), torch.zeros(196)]).double()
    matrix, vectors = symmetric(values)
    found = leading_eigenvectors(matrix, 4, functools.partial(within, 1e-12))
    assert found is not None
    assert spans_differ(found, vectors[:, :4]) < 1e-12
    assert leading_eigenvectors(torch.zeros(100, 100, dtype=torch.float64), 2, functools.partial(within, 1e-12)) is None


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(300, 90), (90, 300), (120, 120)])
def test_truncation_of_random_blocks(always: list[bool], shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = random_block(*shape, dtype)
    for rank in (1, 4, 8):
        edited = truncated_by_gram(block, rank)
        assert edited is not None
        assert edited.is_contiguous()
        check_as_exact(edited, block, rank)
        assert share_of_bits(edited, block, rank) > 0.99
    assert always == [True] * 3


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(200, 100), (100, 200)])
def test_truncation_of_graded_blocks(
    always: list[bool], shape: tuple[int, int], dtype: torch.dtype, condition: float
) -> None:
    values = torch.logspace(0, -math.log10(condition), 100, dtype=torch.float64)
    block = with_spectrum(*shape, values).to(dtype)
    for rank in (1, 3, 10):
        check_as_exact(truncate(block, [rank]), block, rank)
    assert always == [True] * 3


@pytest.mark.parametrize("dtype", NARROW)
def test_a_tie_at_the_cut_is_left_to_the_decomposition(always: list[bool], dtype: torch.dtype) -> None:
    block = torch.zeros(80, 60, dtype=dtype)
    block.diagonal().copy_(torch.cat([torch.tensor([4.0, 2.0, 2.0]), torch.linspace(1, 0.5, 57)]))
    assert truncated_by_gram(block, 2) is None
    check_as_exact(truncate(block, [3]), block, 3)
    assert always == [False, True]


def test_values_that_crowd_at_the_cut(always: list[bool]) -> None:
    """As close as the dtype's rounding leaves them, or too close: exact either way."""
    for gap in (1e-2, 1e-4, 1e-6, 1e-8, 1e-12):
        values = torch.cat([torch.tensor([2.0, 1 + gap, 1.0]).double(), torch.linspace(0.9, 0.1, 57).double()])
        block = torch.zeros(80, 60, dtype=torch.float32)
        block.diagonal().copy_(values)
        if float(block[1, 1]) > float(block[2, 2]):
            check_as_exact(truncate(block, [2]), block, 2)
        else:
            assert truncated_by_gram(block, 2) is None
    assert always[0] is True
    assert always[-1] is False


def test_the_residual_counts_against_the_bound() -> None:
    """A cut that float16 just bears: not with more of a residual, nor with a smaller gap."""
    accurate = functools.partial(accurate_cut, shape=(200, 100), dtype=torch.float16)
    cut = Cut(rank=4, largest=2.0, above=1.0, below=0.9, kept=5.0, error=1e-7)
    assert accurate(cut)
    assert not accurate(dataclasses.replace(cut, error=1e-6))
    assert not accurate(dataclasses.replace(cut, below=1.0 - 1e-7))
    assert not accurate(dataclasses.replace(cut, rank=400))


def test_the_rounding_of_the_gram_matrix_counts_too() -> None:
    """Vectors without a residual, and a gap that float32 bears, or not, beside δ = 3e-14."""
    cut = Cut(rank=4, largest=2.0, above=1.0, below=1.0 - 1e-4, kept=5.0, error=0.0)
    accurate = functools.partial(accurate_cut, shape=(200, 100), dtype=torch.float32)
    assert accurate(cut)
    assert not accurate(dataclasses.replace(cut, below=1.0 - 1e-6))


def test_what_is_refused_goes_the_other_way(always: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    block = random_block(200, 100, torch.float16)
    monkeypatch.setattr(lanczos, "none_missed", lambda *_: False)
    edited = truncated_by_gram(block, 4)
    assert always == [False]
    assert edited is not None
    check_as_exact(edited, block, 4)


def test_few_of_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(gram, "leading_eigenvectors", lambda *arguments: tried.append(arguments[1]))
    monkeypatch.setattr(gram, "LARGE", 100)
    for columns, rank in [(100, 2), (100, 3), (99, 1), (100, 99)]:
        truncated_by_gram(random_block(120, columns, torch.float16), rank)
    assert tried == [2]


@given(
    rows=st.integers(20, 70),
    columns=st.integers(20, 70),
    rank=st.integers(1, 7),
    dtype=st.sampled_from(NARROW),
    spread=st.integers(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_accepted_vectors_truncate_exactly(
    rows: int, columns: int, rank: int, dtype: torch.dtype, spread: int, seed: int
) -> None:
    """Any grading, any shape: what the test lets through is within the bound."""
    generator = torch.Generator().manual_seed(seed)
    scales = 10.0 ** -(spread * torch.rand(columns, generator=generator, dtype=torch.float64))
    block = (torch.randn(rows, columns, generator=generator, dtype=torch.float64) * scales).to(dtype)
    tall = block if rows >= columns else block.T
    accurate = functools.partial(accurate_cut, shape=block.shape, dtype=dtype)
    basis = leading_eigenvectors(gram_matrix(tall), rank, accurate)
    if basis is not None:
        check_as_exact(gram.projected(block, basis, keep=True), block, rank)
