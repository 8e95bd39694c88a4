"""Truncation by the Gram matrix: as exact as the singular value decomposition, or refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import EditError
from cti_edits.linalg import gram
from cti_edits.linalg.gram import gram_matrix, row_block_grams, truncated_by_gram
from cti_edits.linalg.lowrank import decompose, truncate
from tests.support.matrices import random_block, weights_and_ranks, with_spectrum

NARROW = [torch.float32, torch.float16, torch.bfloat16]


def exact(block: torch.Tensor, rank: int) -> torch.Tensor:
    """The reference, float64: torch's SVD."""
    U, S, Vh = torch.linalg.svd(block.double(), full_matrices=False)
    result: torch.Tensor = (U[:, :rank] * S[:rank]) @ Vh[:rank]
    return result


def check_as_exact(edited: torch.Tensor, block: torch.Tensor, rank: int) -> None:
    """Every element is the exact one rounded, but for the bound that `truncated_by_gram` promises.

    u |Ŵ_il| is half a unit in the last place where Ŵ_il is a normal number; below that the spacing is constant. The
    last term is the error of the float64 arithmetic, the reference's own included.
    """
    reference = exact(block, rank)
    info = torch.finfo(block.dtype)
    u = info.eps / 2
    norm = float(torch.linalg.matrix_norm(reference))
    allowed = u * reference.abs() + info.smallest_normal * u + u * norm / 20 + 1e-14 * norm
    assert edited.dtype == block.dtype
    assert edited.shape == block.shape
    assert bool(((edited.double() - reference).abs() <= allowed).all())


def share_of_bits(edited: torch.Tensor, block: torch.Tensor, rank: int) -> float:
    return float((edited == exact(block, rank).to(block.dtype)).double().mean())


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(90, 40), (40, 90), (60, 60), (2, 2), (1500, 6)])
def test_every_kind_of_rank_is_the_exact_one_rounded(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """From 1 to r - 1: leading and trailing vectors, some of the vectors and all of them."""
    block = random_block(*shape, dtype)
    most = min(shape)
    picked = {1, 2, most // 3, most // 2, most // 2 + 1, 2 * most // 3 + 1, most - 2, most - 1}
    for rank in sorted(picked & set(range(1, most))):
        edited = truncated_by_gram(block, rank)
        assert edited is not None
        assert edited.is_contiguous()
        check_as_exact(edited, block, rank)
        assert share_of_bits(edited, block, rank) > 0.99


def test_more_rows_and_columns_than_are_taken_at_once() -> None:
    shape = (gram.ROWS + 5, 2 * gram.PANEL + 3)
    for block in (random_block(*shape, torch.float32), random_block(*shape, torch.float16).T):
        for rank in (3, 200, 2 * gram.PANEL - 4):
            edited = truncated_by_gram(block, rank)
            assert edited is not None
            check_as_exact(edited, block, rank)
            assert share_of_bits(edited, block, rank) > 0.99


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("shape", "clusters"), [((50, 11), 3), ((11, 50), 3), ((41, 20), 2)])
def test_blocks_of_unequal_height(shape: tuple[int, int], clusters: int, dtype: torch.dtype) -> None:
    weight = random_block(*shape, dtype)
    ranks = [1 + index for index in range(clusters)]
    edited = truncate(weight, ranks)
    for before, after, rank in zip(
        torch.tensor_split(weight, clusters), torch.tensor_split(edited, clusters), ranks, strict=True
    ):
        check_as_exact(after, before, rank)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e9])
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(70, 30), (30, 70), (30, 30)])
def test_conditioning(shape: tuple[int, int], dtype: torch.dtype, condition: float) -> None:
    """Whichever way is taken, the result is the exact one; what is known beforehand of the way is checked too."""
    values = torch.logspace(0, -math.log10(condition), 30, dtype=torch.float64)
    block = with_spectrum(*shape, values).to(dtype)
    for rank in (1, 4, 11, 16, 25, 29):
        check_as_exact(truncate(block, [rank]), block, rank)
    assert truncated_by_gram(block, 1) is not None


def test_singular_values_far_below_the_first_are_refused() -> None:
    """In float32, σ_25 = 1e-9 is below the rounding of the weight; a diagonal one holds it exactly all the same."""
    values = torch.logspace(0, -9, 26, dtype=torch.float64).float()
    block = torch.diag(values)
    assert truncated_by_gram(block, 3) is not None
    assert truncated_by_gram(block, 25) is None
    expected = block.clone()
    expected[25, 25] = 0
    torch.testing.assert_close(truncate(block, [25]), expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("seed", range(8))
def test_squares_that_drown_in_the_first_are_refused(seed: int) -> None:
    """Row 2 and row 3 are 1.5e-8 and 1.4e-8 of directions that are orthogonal to the first row's.

    float32 holds all of them to seven digits. In the Gram matrix they are 2.2e-16 and 2.0e-16 beside 1, less than its
    rounding: its eigenvectors there are mixtures, and rows 2 and 3 of the result would be off by up to 1e-8, three
    times what is allowed.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(6, 3, generator=generator, dtype=torch.float64))[0].mT
    block = (torch.tensor([[1.0], [1.5e-8], [1.4e-8]], dtype=torch.float64) * directions).float()
    tall = torch.cat([block, torch.zeros(4, 6)])
    assert truncated_by_gram(tall, 2) is None
    check_as_exact(truncate(tall, [2]), tall, 2)
    # Nothing is wrong one rank earlier: the cut lies in a wide gap.
    edited = truncated_by_gram(tall, 1)
    assert edited is not None
    check_as_exact(edited, tall, 1)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (5, 5)])
def test_a_tie_at_the_cut_is_left_to_the_decomposition(shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = torch.zeros(shape, dtype=dtype)
    block.diagonal().copy_(torch.tensor([4.0, 2.0, 2.0, 2.0, 1.0]))
    for rank in (2, 3):
        assert truncated_by_gram(block, rank) is None
        assert torch.equal(truncate(block, [rank]), decompose(block, 1)[0].truncated(rank).to(dtype))
    for rank in (1, 4):
        edited = truncated_by_gram(block, rank)
        assert edited is not None
        check_as_exact(edited, block, rank)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
def test_deficient_blocks(shape: tuple[int, int], dtype: torch.dtype) -> None:
    zero = torch.zeros(shape, dtype=dtype)
    for rank in (1, 19):
        assert truncated_by_gram(zero, rank) is None
        assert torch.equal(truncate(zero, [rank]), zero)
    # Small integers, so that the product has rank 3 in every dtype.
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-2, 3, size, generator=generator) for size in ((shape[0], 3), (3, shape[1])))
    block = (left @ right).to(dtype)
    assert truncated_by_gram(block, 5) is None
    for rank in (1, 2, 3, 5, 19):
        check_as_exact(truncate(block, [rank]), block, rank)
    whole = truncated_by_gram(block, 3)
    assert whole is not None
    torch.testing.assert_close(whole, block, rtol=0.0, atol=1e-13)


def test_float64_is_left_to_the_decomposition() -> None:
    block = random_block(20, 10, torch.float64)
    assert truncated_by_gram(block, 3) is None
    assert torch.equal(truncate(block, [3]), decompose(block, 1)[0].truncated(3))


@pytest.mark.parametrize(("size", "tiny"), [(1e30, 1e-30), (1e-38, 1e-44)])
def test_squares_that_leave_the_range_of_float32(size: float, tiny: float) -> None:
    block = random_block(9, 6, torch.float32) * size
    block[0, 0] = tiny
    edited = truncated_by_gram(block, 2)
    assert edited is not None
    check_as_exact(edited, block, 2)


def test_a_block_that_loses_no_rank_beside_one_that_does_keeps_its_bits() -> None:
    weight = random_block(8, 6, torch.float16)
    edited = truncate(weight, [4, 2])
    assert torch.equal(edited[:4], weight[:4])
    check_as_exact(edited[4:], weight[4:], 2)


def test_the_same_bits_every_time() -> None:
    block = random_block(300, 200, torch.float16)
    for rank in (5, 120, 190):
        first = truncated_by_gram(block, rank)
        again = truncated_by_gram(block.clone(), rank)
        assert first is not None
        assert again is not None
        assert torch.equal(first, again)


def test_the_block_is_left_alone() -> None:
    block = random_block(12, 30, torch.float16)
    former = block.clone()
    edited = truncated_by_gram(block, 4)
    assert edited is not None
    edited.zero_()
    assert torch.equal(block, former)


@given(weights_and_ranks(NARROW))
def test_truncation_is_the_exact_one(case: tuple[torch.Tensor, tuple[int, ...]]) -> None:
    weight, ranks = case
    edited = truncate(weight, ranks)
    pairs = zip(torch.tensor_split(weight, len(ranks)), torch.tensor_split(edited, len(ranks)), ranks, strict=True)
    info = torch.finfo(weight.dtype)
    for before, after, rank in pairs:
        check_as_exact(after, before, rank)
        # ‖W - Ŵ‖_F is the norm of what is cut off, but for the rounding of Ŵ and the bound.
        values = torch.linalg.svdvals(before.double())
        discarded = float(torch.linalg.vector_norm(values[rank:]))
        found = float(torch.linalg.matrix_norm(before.double() - after.double()))
        rounding = 1.1 * info.eps / 2 * float(torch.linalg.vector_norm(values)) + before.numel() * info.smallest_normal
        assert abs(found - discarded) <= rounding + 1e-13 * float(values[0])


def check_grams(weight: torch.Tensor, clusters: tuple[int, ...]) -> None:
    """Every block of every K once, each as its own product has it."""
    seen = []
    for count, index, matrix in row_block_grams(weight, clusters):
        seen.append((count, index))
        block = torch.tensor_split(weight, count)[index].double()
        expected = block.mT @ block if block.shape[0] >= block.shape[1] else block @ block.mT
        assert matrix.dtype == torch.float64
        assert matrix.shape == expected.shape
        torch.testing.assert_close(matrix.tril(), expected.tril(), rtol=1e-12, atol=1e-12 * float(expected.trace()))
    assert sorted(seen) == [(count, index) for count in sorted(set(clusters)) for index in range(count)]


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 25),
    clusters=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    dtype=st.sampled_from([*NARROW, torch.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_grams_of_all_row_blocks(rows: int, columns: int, clusters: list[int], dtype: torch.dtype, seed: int) -> None:
    """Tall blocks, wide ones, both for one K, and boundaries that do not nest."""
    check_grams(random_block(rows, columns, dtype, seed), tuple(min(count, rows) for count in clusters))


def test_grams_of_a_transposed_weight() -> None:
    check_grams(random_block(20, 48, torch.float16).T, (1, 2, 3, 4))


@pytest.mark.parametrize("shape", [(48, 12), (12, 48)])
def test_one_pass_serves_every_number_of_blocks(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    """Where K divides the rows and all blocks are tall or all are wide, each row is multiplied once."""
    weight, passed = random_block(*shape, torch.float32), 0

    def counted(tall: torch.Tensor) -> torch.Tensor:
        nonlocal passed
        passed += tall.numel()
        return gram_matrix(tall)

    monkeypatch.setattr(gram, "gram_matrix", counted)
    check_grams(weight, (1, 2, 4))
    assert passed == weight.numel()


def test_few_grams_are_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tall blocks one sum for each K and one piece, though there are 7 blocks and 6 pieces."""
    import gc
    import weakref

    weight = random_block(120, 9, torch.float32)
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()

    def watched(tall: torch.Tensor) -> torch.Tensor:
        matrix = gram_matrix(tall)
        alive.add(matrix)
        return matrix

    monkeypatch.setattr(gram, "gram_matrix", watched)
    most = 0
    for _ in row_block_grams(weight, (1, 2, 4)):
        gc.collect()
        most = max(most, len(alive))
    assert 1 <= most <= 4


def test_blocks_out_of_range_are_refused() -> None:
    with pytest.raises(EditError, match="expected clusters from 1 to 4"):
        list(row_block_grams(random_block(4, 9, torch.float32), (1, 5)))
