"""The last singular triplets: within the stated bound of the singular value decomposition's, by whichever way."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.linalg import block_tails as module
from cti_edits.linalg.block_tails import TAIL, TOLERANCE, BlockTail, block_tails
from cti_edits.linalg.gram import ROWS
from cti_edits.linalg.lowrank import decompose
from cti_edits.linalg.spectrum import matrix_score, sigma_gradients
from tests.support.matrices import random_block, with_spectrum

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def slopes(tail: BlockTail, gradient: torch.Tensor) -> torch.Tensor:
    return ((tail.U.mT @ gradient.double()) * tail.V.mT).sum(dim=1)


def check_triplets(weight: torch.Tensor, tails: dict[int, tuple[BlockTail, ...]], count: int = TAIL) -> None:
    """Shapes, order, singular values, orthonormality and W v = σ u, which hold for tied values too."""
    for clusters, found in tails.items():
        assert len(found) == clusters
        for tail, block in zip(found, torch.tensor_split(weight.double(), clusters), strict=True):
            t = min(count, *block.shape)
            assert (tail.U.shape, tail.S.shape, tail.V.shape) == ((len(block), t), (t,), (block.shape[1], t))
            assert {tail.U.dtype, tail.S.dtype, tail.V.dtype} == {torch.float64}
            expected = torch.linalg.svdvals(block)
            largest = float(expected[0])
            torch.testing.assert_close(tail.S, expected[-t:], rtol=1e-6, atol=1e-13 * largest)
            assert bool((tail.S.diff() <= 0).all())
            for side in (tail.U, tail.V):
                # The bound lets a singular vector be off by up to a millionth.
                torch.testing.assert_close(
                    side.mT @ side, torch.eye(t, dtype=torch.float64), rtol=0, atol=2 * TOLERANCE
                )
            # Of a wide block this is r_i, which may be a millionth of a gap, and no gap is wider than σ_i.
            off = torch.linalg.vector_norm(block @ tail.V - tail.U * tail.S, dim=0)
            assert bool((off <= TOLERANCE * tail.S + 1e-13 * largest).all())


def check_slopes(weight: torch.Tensor, tails: dict[int, tuple[BlockTail, ...]], seed: int = 0) -> None:
    """σ-gradients and scores against those of the decomposition, for a random gradient."""
    gradient = random_block(weight.shape[0], weight.shape[1], torch.float64, seed + 1)
    for clusters, found in tails.items():
        parts = torch.tensor_split(gradient, clusters)
        exact = [g[-TAIL:] for g in sigma_gradients(decompose(weight, clusters), gradient)]
        ours = [slopes(tail, part) for tail, part in zip(found, parts, strict=True)]
        norms = [float(torch.linalg.matrix_norm(part, 2)) for part in parts]
        for a, b, norm in zip(ours, exact, norms, strict=True):
            assert float((a - b).abs().max()) <= TOLERANCE * norm
        assert abs(matrix_score(ours) - matrix_score(exact)) <= TAIL * TOLERANCE * max(norms)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each block was taken."""
    taken: list[str] = []
    by_gram, exactly = module._tail_by_gram, module._exact_tail

    def tried(block: torch.Tensor, gram: torch.Tensor, count: int) -> BlockTail | None:
        tail = by_gram(block, gram, count)
        taken.append("gram" if tail else "refused")
        return tail

    def exact(block: torch.Tensor, count: int) -> BlockTail:
        assert taken[-1] == "refused"
        taken[-1] = "exact"
        return exactly(block, count)

    monkeypatch.setattr(module, "_tail_by_gram", tried)
    monkeypatch.setattr(module, "_exact_tail", exact)
    return taken


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(150, 60), (60, 150), (90, 90), (47, 31), (31, 47)])
def test_random_weights_take_the_fast_way(shape: tuple[int, int], dtype: torch.dtype, ways: list[str]) -> None:
    weight = random_block(*shape, dtype)
    tails = block_tails(weight, (1, 2, 3, 4))
    check_triplets(weight, tails)
    check_slopes(weight, tails)
    assert ways == ["gram"] * 10


@pytest.mark.parametrize("limit", [module.ALL_PAIRS, module.ONE_THREAD])
def test_every_solver(monkeypatch: pytest.MonkeyPatch, limit: int, ways: list[str]) -> None:
    """Sizes above the limits."""
    monkeypatch.setattr(module, "ONE_THREAD", limit)
    for shape in ((400, 150), (150, 400), (ROWS + 9, 140)):
        weight = random_block(*shape, torch.float16)
        tails = block_tails(weight, (1, 2))
        check_triplets(weight, tails)
        check_slopes(weight, tails)
    assert set(ways) == {"gram"}


@pytest.mark.parametrize("condition", [10.0, 1e2, 1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(80, 40), (40, 80), (40, 40)])
def test_conditioning(shape: tuple[int, int], dtype: torch.dtype, condition: float, ways: list[str]) -> None:
    """Geometric spectra; a narrow dtype's own rounding lifts the last values, whichever they are then."""
    weight = with_spectrum(*shape, torch.logspace(0, -math.log10(condition), 40, dtype=torch.float64)).to(dtype)
    tails = block_tails(weight, (1, 2, 3))
    check_triplets(weight, tails)
    check_slopes(weight, tails)
    # Blocks of it may be conditioned worse.
    ways.clear()
    block_tails(weight, (1,))
    if condition <= 1e3:
        assert ways == ["gram"]


@pytest.mark.parametrize("shape", [(80, 40), (40, 80)])
def test_squares_that_are_too_small_are_noticed(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    """At a condition of 1e7 the last square is below the rounding of the first."""
    weight = with_spectrum(*shape, torch.logspace(0, -7, 40, dtype=torch.float64)).float().double()
    tails = block_tails(weight, (1,))
    assert ways == ["exact"]
    check_triplets(weight, tails)
    check_slopes(weight, tails)
    monkeypatch.setattr(module, "TOLERANCE", math.inf)
    unnoticed = block_tails(weight, (1,))
    assert ways == ["exact", "gram"]
    with pytest.raises(AssertionError):
        check_slopes(weight, unnoticed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["inside", "before", "all"])
@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (40, 40)])
def test_ties_are_left_to_the_decomposition(
    shape: tuple[int, int], place: str, dtype: torch.dtype, ways: list[str]
) -> None:
    """Equal values in the tail, one in it and one before, or all equal: the vectors, and the score, are not unique."""
    values = torch.arange(60, 20, -1, dtype=torch.float64)
    if place == "inside":
        values[-3] = values[-4]
    elif place == "before":
        values[-TAIL] = values[-TAIL - 1]
    else:
        values[:] = 1.0
    weight = torch.zeros(shape, dtype=dtype)
    weight.diagonal().copy_(values)
    tails = block_tails(weight, (1,))
    assert ways == ["exact"]
    check_triplets(weight, tails)
    whole = decompose(weight, 1)[0]
    assert torch.equal(tails[1][0].U, whole.U[:, -TAIL:])
    assert torch.equal(tails[1][0].V, whole.Vh[-TAIL:].mT)


def test_a_tie_elsewhere_is_none_of_the_tails_business(ways: list[str]) -> None:
    values = torch.arange(60, 20, -1, dtype=torch.float64)
    values[:15] = 60.0
    check_slopes(with_spectrum(60, 40, values), block_tails(with_spectrum(60, 40, values), (1,)))
    assert ways == ["gram"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (40, 40), (1, 5), (5, 1)])
def test_deficient_blocks(shape: tuple[int, int], dtype: torch.dtype, ways: list[str]) -> None:
    zero = torch.zeros(shape, dtype=dtype)
    check_triplets(zero, block_tails(zero, (1,)))
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-2, 3, size, generator=generator) for size in ((shape[0], 3), (3, shape[1])))
    # Rank 3, and a zero block beside blocks that are not.
    deficient = (left @ right).to(dtype)
    if min(shape) > 3:
        check_triplets(deficient, block_tails(deficient, (1, 2)))
        assert set(ways) == {"exact"}
        mixed = random_block(*shape, dtype)
        mixed[: shape[0] // 2] = 0
        check_triplets(mixed, block_tails(mixed, (2,)))
        assert ways[-2:] == ["exact", "gram"]


@pytest.mark.parametrize("size", [1e200, 1e-160, 1e-200])
def test_squares_that_leave_the_range_of_float64(size: float, ways: list[str]) -> None:
    weight = random_block(40, 30, torch.float64)
    (tail,) = block_tails(weight * size, (1,))[1]
    assert ways == ["exact"]
    check_triplets(weight, {1: (BlockTail(tail.U, tail.S / size, tail.V),)})


@st.composite
def weights_and_clusters(draw: st.DrawFn) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Few distinct values, so that ties and deficient blocks are common, or random ones of any size."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    clusters = tuple(draw(st.lists(st.integers(1, shape[0]), min_size=1, max_size=3)))
    dtype = draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        return torch.randint(-2, 3, shape, generator=generator).to(dtype), clusters
    spread = 10.0 ** -(draw(st.integers(0, 4)) * torch.rand(shape[1], generator=generator, dtype=torch.float64))
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * spread).to(dtype), clusters


@given(weights_and_clusters(), st.integers(1, 25))
def test_any_weight(case: tuple[torch.Tensor, tuple[int, ...]], count: int) -> None:
    weight, clusters = case
    tails = block_tails(weight, clusters, count)
    assert sorted(tails) == sorted(set(clusters))
    check_triplets(weight, tails, count)


@given(weights_and_clusters())
def test_gradients_of_any_weight_without_ties(case: tuple[torch.Tensor, tuple[int, ...]]) -> None:
    weight, clusters = case
    values = torch.linalg.svdvals(weight.double())
    for count in clusters:
        for block in torch.tensor_split(weight.double(), count):
            values = torch.linalg.svdvals(block)
            if float(values[-1]) < 1e-5 * float(values[0]) or bool((values.diff() > -1e-7 * values[0]).any()):
                return
    check_slopes(weight, block_tails(weight, clusters))


def test_small_solves_have_one_thread_and_leave_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    former = torch.get_num_threads()
    eigh = torch.linalg.eigh
    seen: list[int] = []

    def fails_at_last(gram: torch.Tensor) -> Any:
        seen.append(torch.get_num_threads())
        if len(seen) == 3:
            raise ZeroDivisionError
        return eigh(gram)

    monkeypatch.setattr(torch.linalg, "eigh", fails_at_last)
    torch.set_num_threads(2)
    try:
        weight = random_block(40, 30, torch.float32)
        block_tails(weight, (2,))
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            block_tails(weight, (1,))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(former)
    assert seen == [1, 1, 1]


def test_the_weight_is_left_alone() -> None:
    weight = random_block(40, 30, torch.float64)
    former = weight.clone()
    for tail in block_tails(weight, (1, 2))[2]:
        tail.U.zero_()
        tail.V.zero_()
    assert torch.equal(weight, former)


def test_a_parameter_has_no_history_in_its_tails() -> None:
    assert not block_tails(torch.nn.Parameter(random_block(12, 8, torch.float32)), (1,))[1][0].U.requires_grad


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused(bad: float) -> None:
    weight = random_block(12, 8, torch.float32)
    weight[3, 4] = bad
    with pytest.raises(EditError, match="the weight holds NaN or infinite values"):
        block_tails(weight, (1, 2))


def test_wrong_arguments_are_refused() -> None:
    weight = random_block(12, 8, torch.float32)
    with pytest.raises(EditError, match="expected clusters from 1 to 12"):
        block_tails(weight, (1, 13))
    with pytest.raises(EditError, match="expected 1 or more singular values a block, got 0"):
        block_tails(weight, (1,), 0)
    with pytest.raises(EditError, match="expected a matrix"):
        block_tails(weight[0], (1,))
