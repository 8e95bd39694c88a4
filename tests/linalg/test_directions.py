"""Other values for some singular values, against numpy's decompositions in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.linalg import directions as module
from cti_edits.linalg.directions import (
    INSEPARABLE,
    SAME_SIGMA,
    Directions,
    difference,
    inseparable,
    separable,
    summed,
    with_difference,
)
from cti_edits.linalg.factors import LowRank
from cti_edits.linalg.gram import SHARE, squares_error
from cti_edits.linalg.lowrank import decompose
from tests.support.matrices import random_block, with_spectrum

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
HALVES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(9, 5), (5, 9), (7, 7), (1, 6), (6, 1), (1, 1), (40, 24)]
FACTORS = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1.001, 3.0, -250.0, 1e4])

Array = np.ndarray[Any, np.dtype[np.float64]]


def dense(found: LowRank) -> Array:
    return np.asarray((found.left.double() @ found.right.double()).numpy())


def plainly(block: torch.Tensor, factors: Mapping[int, float]) -> Array:
    """Σ (s − 1) σ u vᵀ by numpy. As u and v stand together, their sign is of no matter."""
    U, sigma, Vh = np.linalg.svd(block.double().numpy(), full_matrices=False)
    added = np.zeros(block.shape)
    for index, scale in factors.items():
        added += (scale - 1) * sigma[index] * np.outer(U[:, index], Vh[index])
    return added


def edited(block: torch.Tensor, factors: Mapping[int, float], sigma: bool = False) -> LowRank:
    index = sorted(factors)
    values = np.linalg.svd(block.double().numpy(), compute_uv=False)
    expected = [float(values[one]) for one in index] if sigma else None
    return difference(block, Directions(index, [factors[one] for one in index], expected))


def at_most(block: torch.Tensor, factors: Mapping[int, float]) -> float:
    """How far the difference may be off: a twentieth of the dtype's rounding, or what a decomposition, of which numpy's
    is one too, makes of its errors."""
    values = np.linalg.svd(block.double().numpy(), compute_uv=False)
    norm = float(np.linalg.norm(values))
    s = np.array([factors.get(index, 1.0) for index in range(len(values))])
    error = squares_error(block.shape, norm)
    steepest = 2 * float(abs(s - 1).max())
    for i, j in itertools.permutations(range(len(values)), 2):
        if s[i] != s[j]:
            steepest = max(steepest, values[i] * abs(s[i] - s[j]) / abs(values[i] - values[j]))
    return SHARE * torch.finfo(block.dtype).eps / 2 * norm + 4 * math.sqrt(2 * len(factors)) * error * steepest


def refused(block: torch.Tensor, factors: Mapping[int, float]) -> bool | None:
    """Whether two values are too close for different factors; None where it is a matter of the last digits."""
    values = np.linalg.svd(block.double().numpy(), compute_uv=False)
    limit = INSEPARABLE * squares_error(block.shape, float(np.linalg.norm(values)))
    gaps = [
        values[one] - values[one + 1]
        for one in range(len(values) - 1)
        if factors.get(one, 1.0) != factors.get(one + 1, 1.0)
    ]
    if any(limit / 2 < gap < 2 * limit for gap in gaps):
        return None
    return any(gap <= limit for gap in gaps)


@st.composite
def blocks(draw: st.DrawFn) -> torch.Tensor:
    """Small integers, so that ties and missing ranks are common; or random values; or a spectrum with close pairs."""
    rows, columns, dtype = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    kind = draw(st.sampled_from(["integers", "random", "close"]))
    if kind == "integers":
        return torch.randint(-2, 3, (rows, columns), generator=generator).to(dtype)
    if kind == "random":
        return random_block(rows, columns, dtype, seed)
    ratios = [1 - 10.0 ** -draw(st.integers(0, 9)) for _ in range(min(rows, columns))]
    return with_spectrum(rows, columns, torch.tensor(ratios, dtype=torch.float64).cumprod(0), seed).to(dtype)


@given(blocks(), st.data())
def test_the_difference_is_that_of_a_decomposition_or_is_refused(block: torch.Tensor, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, min(block.shape) - 1), min_size=1))
    factors = {index: data.draw(FACTORS) for index in sorted(chosen)}
    expected = refused(block, factors)
    assume(expected is not None)
    if expected:
        with pytest.raises(EditError, match=r"^index: the singular values \d+ and \d+, .* are too close to tell"):
            edited(block, factors)
        return
    found = edited(block, factors, sigma=True)
    assert (found.left.shape, found.right.shape) == ((len(block), len(factors)), (len(factors), block.shape[1]))
    assert {found.left.dtype, found.right.dtype} == {torch.float64}
    # Groups of equal values with one factor have no vectors of their own: only their sum is compared.
    assert np.linalg.norm(dense(found) - plainly(block, factors)) <= at_most(block, factors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_and_dtype(shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = random_block(*shape, dtype)
    last = min(shape) - 1
    factors = {0: 1.5, last // 2: -2.0, last: 0.0}
    found = edited(block, factors, sigma=True)
    assert np.linalg.norm(dense(found) - plainly(block, factors)) <= at_most(block, factors)
    former = block.clone()
    result = with_difference(block, found)
    assert (result.dtype, result.shape) == (dtype, block.shape)
    assert torch.equal(block, former)
    expected = block.double().numpy() + plainly(block, factors)
    unit = torch.finfo(dtype).eps
    np.testing.assert_allclose(result.double().numpy(), expected, rtol=unit / 2, atol=at_most(block, factors))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_new_singular_values_are_the_factors_times_the_old(dtype: torch.dtype) -> None:
    block = random_block(30, 20, dtype)
    before = np.linalg.svd(block.double().numpy(), compute_uv=False)
    factors = {0: 0.5, 3: 2.0, 19: -4.0}
    edited_block = block.double().numpy() + dense(edited(block, factors))
    expected = sorted((abs(factors.get(index, 1.0)) * value for index, value in enumerate(before)), reverse=True)
    found = np.linalg.svd(edited_block, compute_uv=False)
    np.testing.assert_allclose(found, expected, atol=torch.finfo(dtype).eps * before[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sign_of_the_vectors_is_of_no_matter(dtype: torch.dtype) -> None:
    """A weight whose rows and columns change signs has vectors of other signs, and its edit changes signs with it."""
    block = random_block(20, 14, dtype)
    factors = {0: 3.0, 5: -1.0, 13: 0.0}
    rows = torch.tensor([(-1.0) ** (n * n // 3) for n in range(20)])[:, None].to(dtype)
    columns = torch.tensor([(-1.0) ** (n // 2) for n in range(14)]).to(dtype)
    ones = torch.ones(20, 14, dtype=dtype)
    for signs in (ones * rows, ones * columns, ones * rows * columns, -ones):
        again = dense(edited(block * signs, factors)) * signs.double().numpy()
        assert np.linalg.norm(again - dense(edited(block, factors))) <= 2 * at_most(block, factors)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [5, 30])
def test_either_side_s_gram_matrix_gives_the_same_within_the_bound(
    size: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a square weight it is WᵀW, and of the same one transposed W Wᵀ."""
    decompositions = counted(monkeypatch)
    block = random_block(size, size, dtype, seed=3)
    factors = {0: 1.25, 2: 0.0, 3: -3.0}
    one, other = dense(edited(block, factors)), dense(edited(block.T, factors)).T
    assert not decompositions
    norm = float(torch.linalg.vector_norm(block.double()))
    assert np.linalg.norm(one - other) <= 2 * SHARE * torch.finfo(dtype).eps / 2 * norm
    assert np.linalg.norm(one - plainly(block, factors)) <= SHARE * torch.finfo(dtype).eps / 2 * norm


def counted(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The blocks that are decomposed from here on, which are decomposed all the same."""
    found = []

    def counting(block: torch.Tensor, clusters: int) -> Any:
        found.append(block)
        return decompose(block, clusters)

    monkeypatch.setattr(module, "decompose", counting)
    return found


def test_float64_takes_a_decomposition_and_other_dtypes_only_where_squaring_loses_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decompositions = counted(monkeypatch)
    for dtype in HALVES:
        edited(random_block(30, 20, dtype), {0: 2.0, 7: 0.0, 19: 0.0})
    assert not decompositions
    # A factor that makes more of the same error; a value far below the first.
    for block, factors in (
        (random_block(30, 20, torch.float32), {0: 1e6}),
        (with_spectrum(30, 20, torch.logspace(0, -6, 20, dtype=torch.float64)).float(), {19: 3.0}),
        (random_block(30, 20, torch.float64), {0: 2.0}),
    ):
        found = dense(edited(block, factors, sigma=True))
        assert np.linalg.norm(found - plainly(block, factors)) <= at_most(block, factors)
    assert len(decompositions) == 3


# Repeated and missing values


HADAMARD = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
SMALL = torch.tensor([[3.0, 1, 0, 2, -1], [0, 2, 1, -2, 0], [1, 0, 0, 0, 2]], dtype=torch.float64)
FOURFOLD = torch.kron(HADAMARD, SMALL)
"""Each singular value of `SMALL`, twice, stands in it four times, exactly in every dtype."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("factors", [{0: 2.0}, {1: 0.0}, {2: -1.5}, {0: 2.0, 2: 0.5}, {0: 2.0, 1: 2.0, 2: 2.0}])
def test_equal_values_with_one_factor_are_edited_right(
    factors: dict[int, float], transposed: bool, dtype: torch.dtype
) -> None:
    """Ŵ of H ⊗ A is H ⊗ Â, whatever vectors a decomposition finds in the equal ones."""
    expected = np.kron(HADAMARD.numpy(), plainly(SMALL, factors))
    block = FOURFOLD.to(dtype)
    group = {4 * index + copy: scale for index, scale in factors.items() for copy in range(4)}
    found = dense(edited(block.T if transposed else block, group, sigma=True))
    norm = float(torch.linalg.vector_norm(FOURFOLD))
    atol = max(SHARE * torch.finfo(dtype).eps / 2, 1e-14) * norm
    np.testing.assert_allclose(found.T if transposed else found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("group", "pair"),
    [
        ({0: 2.0}, (0, 1)),
        ({0: 2.0, 1: 2.0, 2: 2.0}, (2, 3)),
        ({4: 0.5, 5: 0.5, 6: 0.5, 7: 0.25}, (6, 7)),
        ({0: 2.0, 1: 2.0, 2: 2.0, 3: 2.0, 7: 2.0}, (6, 7)),
        ({11: 0.0}, (10, 11)),
    ],
)
def test_equal_values_with_different_factors_are_refused_by_number(
    group: dict[int, float], pair: tuple[int, int], dtype: torch.dtype
) -> None:
    with pytest.raises(EditError) as caught:
        edited(FOURFOLD.to(dtype), group, sigma=True)
    message = str(caught.value)
    assert message.startswith(f"index: the singular values {pair[0]} and {pair[1]}, ")
    assert message.endswith(
        " are too close to tell their directions apart; only an edit that gives both the same factor can be applied"
    )


def test_equal_values_that_get_the_factor_1_are_as_if_they_were_not_edited() -> None:
    found = edited(FOURFOLD.float(), {0: 1.0, 4: 3.0, 5: 3.0, 6: 3.0, 7: 3.0})
    expected = np.kron(HADAMARD.numpy(), plainly(SMALL, {1: 3.0}))
    np.testing.assert_allclose(dense(found), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 6), (6, 12)])
def test_values_that_are_zero(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Zero times anything is zero; that squaring finds 1e-8 of the first in its place is no other base."""
    long, short = max(shape), min(shape)
    rank_5 = random_block(long, short, torch.float64)
    rank_5[:, -1] = rank_5[:, 0]
    block = (rank_5 if shape[0] > shape[1] else rank_5.T).to(dtype)
    found = difference(block, Directions([short - 1], [1000.0], [0.0]))
    assert np.linalg.norm(dense(found)) <= 1e3 * 1e-7 * float(torch.linalg.vector_norm(block.double()))
    zero = torch.zeros(shape, dtype=dtype)
    every = list(range(short))
    same = difference(zero, Directions(every, [3.0] * short, [0.0] * short))
    assert torch.equal(with_difference(zero, same), zero)
    with pytest.raises(EditError, match=r"^index: the singular values 0 and 1, 0 and 0, are too close"):
        difference(zero, Directions([0], [3.0], [0.0]))


# Which base


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_sigma_is_another_base(dtype: torch.dtype) -> None:
    block = random_block(30, 20, dtype)
    values = [float(value) for value in np.linalg.svd(block.double().numpy(), compute_uv=False)]
    norm = float(np.linalg.norm(values))
    for off, fits in ((0.0, True), (0.5, True), (2.0, False), (-2.0, False), (1e5, False)):
        sigma = [values[2], values[7] + off * SAME_SIGMA * (values[7] + norm / 100)]
        wanted = Directions([2, 7], [2.0, 0.5], sigma)
        if fits:
            difference(block, wanted)
            continue
        with pytest.raises(EditError) as caught:
            difference(block, wanted)
        assert str(caught.value) == (
            f"sigma: the edit was made where singular value 7 is {sigma[1]:.9g}, here it is {values[7]:.9g}: "
            "another base, or one in another dtype"
        )


@pytest.mark.parametrize("other", [torch.float16, torch.bfloat16])
def test_the_same_base_in_another_dtype_is_refused(other: torch.dtype) -> None:
    block = random_block(60, 40, torch.float32)
    index = list(range(0, 40, 4))
    values = np.linalg.svd(block.double().numpy(), compute_uv=False)
    wanted = Directions(index, [2.0] * 10, [float(values[one]) for one in index])
    difference(block, wanted)
    difference(block.double(), wanted)
    with pytest.raises(EditError, match=r"^sigma: the edit was made where .* one in another dtype$"):
        difference(block.to(other), wanted)


def test_without_sigma_any_base_is_taken() -> None:
    difference(random_block(30, 20, torch.float32), Directions([3], [2.0]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_that_is_not_finite_is_refused(dtype: torch.dtype, value: float) -> None:
    block = random_block(6, 4, dtype)
    block[2, 1] = value
    with pytest.raises(EditError, match="NaN or infinite"):
        difference(block, Directions([0], [2.0]))


# Adding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (1, 7), (1100, 3)])
def test_factors_of_1_change_no_bit(shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = random_block(*shape, dtype)
    block[0, 0], block[-1, -1] = -0.0, 0.0
    every = list(range(min(shape)))
    for index in (every, every[-1:]):
        found = with_difference(block, difference(block, Directions(index, [1.0] * len(index))))
        assert torch.equal(found.view(torch.uint8), block.view(torch.uint8))


def test_a_sum_is_rounded_once() -> None:
    """1 + 2⁻¹¹ is half way between two float16 numbers; 2⁻²⁰ more decides, which a sum in float16 would not see."""
    part = torch.ones(1, 1, dtype=torch.float16)
    added = torch.tensor([[2.0**-11 + 2.0**-20]], dtype=torch.float64)
    assert summed(part, added).dtype == torch.float64
    found = with_difference(part, LowRank(added, torch.ones(1, 1, dtype=torch.float64)))
    assert float(found[0, 0]) == 1 + 2.0**-10


def test_strips_are_added_where_they_belong() -> None:
    block = random_block(1100, 6, torch.float32)
    added = LowRank(torch.arange(1100.0, dtype=torch.float64)[:, None], torch.eye(6, dtype=torch.float64)[2:3])
    found = with_difference(block, added)
    expected = block.double()
    expected[:, 2] += torch.arange(1100.0, dtype=torch.float64)
    assert torch.equal(found, expected.float())


# Which directions can be told apart


def test_neighbours_too_close_to_be_told_apart() -> None:
    values = torch.tensor([4.0, 3.0, 3.0, 2.0, 2.0 - 1e-12, 1.0, 0.0, 0.0], dtype=torch.float64)
    norm = float(torch.linalg.vector_norm(values))
    close = inseparable(values, (20, 8), norm)
    assert close.tolist() == [False, True, False, True, False, False, True]
    assert separable(values, (20, 8)).tolist() == [True, False, False, False, False, True, False, False]


def test_the_limit_grows_with_the_norm_and_the_size() -> None:
    limit = INSEPARABLE * squares_error((16, 9), 2.0)
    assert limit == pytest.approx(2**20 * 4 * 5 * 2**-52 * 2)
    for factor, close in ((0.99, True), (1.01, False)):
        pair = torch.tensor([1.0, 1.0 - factor * limit], dtype=torch.float64)
        assert inseparable(pair, (16, 9), 2.0).tolist() == [close]
    assert inseparable(torch.ones(1, dtype=torch.float64), (16, 9), 2.0).tolist() == []
    assert separable(torch.ones(1, dtype=torch.float64), (1, 9)).tolist() == [True]


@given(blocks(), st.data())
def test_any_edit_of_separable_directions_is_taken(block: torch.Tensor, data: st.DataObject) -> None:
    """As a search chooses them."""
    values = torch.from_numpy(np.linalg.svd(block.double().numpy(), compute_uv=False))
    apart = separable(values, block.shape).nonzero().flatten().tolist()
    assume(apart)
    chosen = data.draw(st.sets(st.sampled_from(apart), min_size=1))
    factors = {index: data.draw(FACTORS) for index in sorted(chosen)}
    assume(refused(block, factors) is not None)
    edited(block, factors, sigma=True)
