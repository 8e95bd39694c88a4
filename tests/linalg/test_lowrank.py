from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cti_edits.artifact.ranks import block_ranks, full_ranks
from cti_edits.errors import EditError
from cti_edits.linalg import lowrank
from cti_edits.linalg.lowrank import BlockDecomposition, assemble, decompose, row_blocks, truncate

Matrix = np.ndarray[Any, np.dtype[np.float64]]

SHAPES = [(30, 7), (7, 30), (13, 13), (1, 9), (9, 1)]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def discarded_norm(decompositions: Sequence[BlockDecomposition], ranks: Sequence[int]) -> float:
    """‖W − Ŵ‖_F: the root of the sum of squares of the singular values that ``ranks`` cuts off."""
    return math.sqrt(sum(float((block.S[rank:] ** 2).sum()) for block, rank in zip(decompositions, ranks, strict=True)))


def truncated(weight: Matrix, ranks: tuple[int, ...]) -> Matrix:
    """The reference: numpy's SVD of each row block, in float64."""
    parts = []
    for block, rank in zip(np.array_split(weight, len(ranks), axis=0), ranks, strict=True):
        U, S, Vh = np.linalg.svd(block, full_matrices=False)
        parts.append(U[:, :rank] @ np.diag(S[:rank]) @ Vh[:rank])
    return np.concatenate(parts)


def random_weight(shape: tuple[int, int], dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clusters", [1, 2, 4, 7])
@pytest.mark.parametrize("rho", [0.01, 0.3, 0.75])
@pytest.mark.parametrize("dtype", DTYPES)
def test_truncation_is_numpys_rounded_once(
    shape: tuple[int, int], clusters: int, rho: float, dtype: torch.dtype
) -> None:
    clusters = min(clusters, shape[0])
    weight = random_weight(shape, dtype)
    ranks = block_ranks(shape, clusters, rho)
    edited = truncate(weight, ranks)
    expected = truncated(weight.double().numpy(), ranks)
    assert edited.dtype == dtype
    # Half a unit in the last place, and the float64 arithmetic's own error.
    info = torch.finfo(dtype)
    allowed = info.eps / 2 * np.abs(expected) + info.smallest_normal * info.eps / 2 + 1e-12
    assert (np.abs(edited.double().numpy() - expected) <= allowed).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clusters", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_truncation_in_float32_is_near_numpys(shape: tuple[int, int], clusters: int, dtype: torch.dtype) -> None:
    clusters = min(clusters, shape[0])
    weight = random_weight(shape, dtype)
    ranks = block_ranks(shape, clusters, 0.4)
    edited = truncate(weight, ranks, torch.float32)
    assert edited.dtype == dtype
    expected = truncated(weight.double().numpy(), ranks)
    np.testing.assert_allclose(edited.double().numpy(), expected, atol=1e-5, rtol=torch.finfo(dtype).eps)


def test_the_working_precision_is_the_callers() -> None:
    weight = random_weight((6, 5))
    assert {block.S.dtype for block in decompose(weight, 2)} == {torch.float64}
    for block in decompose(weight, 2, torch.float32):
        assert {block.U.dtype, block.S.dtype, block.Vh.dtype} == {torch.float32}
    in_float32 = truncate(weight, (1, 1), torch.float32)
    assert not torch.equal(in_float32, truncate(weight, (1, 1)))
    assert torch.equal(in_float32, in_float32.float().double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_working_precisions_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(EditError, match=f"expected float32 or float64 as working precision, got {dtype}"):
        decompose(random_weight((3, 3)), 1, dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clusters", [1, 3])
def test_decomposition_is_thin_ordered_orthonormal_and_complete(shape: tuple[int, int], clusters: int) -> None:
    clusters = min(clusters, shape[0])
    weight = random_weight(shape)
    blocks = decompose(weight, clusters)
    assert tuple(len(block.S) for block in blocks) == full_ranks(shape, clusters)
    for part, block in zip(np.array_split(weight.numpy(), clusters), blocks, strict=True):
        one = torch.eye(len(block.S), dtype=torch.float64)
        torch.testing.assert_close(block.U.mT @ block.U, one)
        torch.testing.assert_close(block.Vh @ block.Vh.mT, one)
        np.testing.assert_allclose(block.S.numpy(), np.linalg.svd(part, compute_uv=False), atol=1e-12)
        np.testing.assert_allclose((block.U @ torch.diag(block.S) @ block.Vh).numpy(), part, atol=1e-12)


def test_row_blocks_are_consecutive_views() -> None:
    weight = random_weight((7, 3))
    blocks = row_blocks(weight, 3)
    assert [tuple(block.shape) for block in blocks] == [(3, 3), (2, 3), (2, 3)]
    assert torch.equal(torch.cat(blocks), weight)
    blocks[1].zero_()
    assert torch.equal(weight[3:5], torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (9, 9)])
def test_a_rank_deficient_block_is_kept_whole_by_its_rank(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    left = torch.randn(shape[0], 2, generator=generator, dtype=torch.float64)
    right = torch.randn(2, shape[1], generator=generator, dtype=torch.float64)
    weight = left @ right
    torch.testing.assert_close(truncate(weight, (2,)), weight)
    torch.testing.assert_close(truncate(weight, (3,)), weight)
    np.testing.assert_allclose(truncate(weight, (1,)).numpy(), truncated(weight.numpy(), (1,)), atol=1e-12)
    assert discarded_norm(decompose(weight, 1), (2,)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_block_stays_zero_beside_one_that_is_not(dtype: torch.dtype) -> None:
    weight = random_weight((8, 5), dtype)
    weight[4:] = 0
    edited = truncate(weight, (2, 1))
    assert torch.equal(edited[4:], torch.zeros(4, 5, dtype=dtype))
    np.testing.assert_allclose(
        edited[:4].double().numpy(), truncated(weight[:4].double().numpy(), (2,)), atol=2 * torch.finfo(dtype).eps
    )
    assert torch.equal(truncate(torch.zeros(6, 4, dtype=dtype), (1, 1)), torch.zeros(6, 4, dtype=dtype))


def with_singular_values(values: list[float], rows: int, columns: int) -> torch.Tensor:
    rank = len(values)
    U: torch.Tensor = torch.linalg.qr(random_weight((rows, rank), seed=2))[0]
    V: torch.Tensor = torch.linalg.qr(random_weight((columns, rank), seed=3))[0]
    return U @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ V.mT


@pytest.mark.parametrize(("rows", "columns"), [(9, 4), (4, 9), (4, 4)])
def test_repeated_singular_values(rows: int, columns: int) -> None:
    weight = with_singular_values([3.0, 3.0, 1.0, 1.0], rows, columns)
    # The cut lies between distinct values: one answer, though the vectors on either side are not unique.
    np.testing.assert_allclose(truncate(weight, (2,)).numpy(), truncated(weight.numpy(), (2,)), atol=1e-12)
    # The cut lies between equal values: many best answers, all of the same error and rank.
    edited = truncate(weight, (3,))
    assert float(torch.linalg.norm(weight - edited)) == pytest.approx(1.0, abs=1e-12)
    assert int(torch.linalg.matrix_rank(edited, atol=1e-9)) == 3


@st.composite
def weights_and_ranks(draw: st.DrawFn) -> tuple[torch.Tensor, tuple[int, ...]]:
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    clusters = draw(st.integers(1, rows))
    values = draw(
        hnp.arrays(np.float64, (rows, columns), elements=st.floats(-100, 100, allow_subnormal=False).map(float))
    )
    ranks = tuple(draw(st.integers(1, full)) for full in full_ranks((rows, columns), clusters))
    return torch.from_numpy(values), ranks


@given(weights_and_ranks(), st.integers(0, 2**32 - 1))
def test_eckart_young(case: tuple[torch.Tensor, tuple[int, ...]], seed: int) -> None:
    weight, ranks = case
    edited = truncate(weight, ranks).numpy()
    scale = 1.0 + float(np.linalg.norm(weight.numpy()))
    squares = 0.0
    rng = np.random.default_rng(seed)
    parts = zip(np.array_split(weight.numpy(), len(ranks)), np.array_split(edited, len(ranks)), ranks, strict=True)
    for part, cut, rank in parts:
        lost = float(np.sum(np.linalg.svd(part, compute_uv=False)[rank:] ** 2))
        squares += lost
        assert np.linalg.norm(part - cut) == pytest.approx(math.sqrt(lost), abs=1e-10 * scale)
        assert np.linalg.matrix_rank(cut, tol=1e-10 * scale) <= rank
        # Another approximation of that rank is no better: the block projected on a random subspace.
        basis, _ = np.linalg.qr(rng.standard_normal((part.shape[1], rank)))
        assert np.linalg.norm(part - part @ basis @ basis.T) >= np.linalg.norm(part - cut) - 1e-10 * scale
    error = np.linalg.norm(weight.numpy() - edited)
    assert error == pytest.approx(math.sqrt(squares), abs=1e-10 * scale)
    assert discarded_norm(decompose(weight, len(ranks)), ranks) == pytest.approx(error, abs=1e-10 * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "clusters"), [((10, 4), 3), ((4, 10), 1), ((5, 5), 5)])
def test_keeping_every_rank_keeps_every_bit_in_a_copy(
    shape: tuple[int, int], clusters: int, dtype: torch.dtype
) -> None:
    weight = random_weight(shape, dtype)
    weight[0, 0] = -0.0
    edited = truncate(weight, full_ranks(shape, clusters))
    assert bits(edited) == bits(weight)
    assert edited.data_ptr() != weight.data_ptr()


def test_truncation_leaves_its_input_alone() -> None:
    weight = torch.nn.Parameter(random_weight((6, 4)))
    former = bits(weight)
    for ranks in ((1, 1), (3, 3)):
        edited = truncate(weight, ranks)
        assert not edited.requires_grad
        edited.zero_()
    assert bits(weight) == former


def test_a_view_that_is_not_contiguous_is_taken_as_it_reads() -> None:
    stored = random_weight((4, 9))
    np.testing.assert_allclose(truncate(stored.T, (1, 2)).numpy(), truncated(stored.numpy().T, (1, 2)), atol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    weight = random_weight((4, 4))
    weight[3, 1] = bad
    with pytest.raises(EditError, match="the weight holds NaN or infinite values"):
        decompose(weight, 2)
    with pytest.raises(EditError, match="the weight holds NaN or infinite values"):
        truncate(weight, (1, 1))


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2)])
def test_only_matrices_have_row_blocks(shape: tuple[int, ...]) -> None:
    with pytest.raises(EditError, match="expected a matrix, got a tensor of shape"):
        row_blocks(torch.zeros(shape), 1)


@pytest.mark.parametrize("ranks", [(), (1,) * 5])
def test_more_blocks_than_rows_or_none_are_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(EditError, match="expected clusters from 1 to 4"):
        truncate(random_weight((4, 4)), ranks)


@pytest.mark.parametrize("ranks", [(2, 0), (2, 3), (2, -1)])
def test_ranks_out_of_range_name_the_block(ranks: tuple[int, ...]) -> None:
    weight = random_weight((4, 4))
    message = f"^block 1: expected a rank from 1 to 2, got {ranks[1]}$"
    with pytest.raises(EditError, match=message):
        truncate(weight, ranks)
    with pytest.raises(EditError, match=message):
        assemble(decompose(weight, 2), ranks, weight.dtype)


def test_ranks_are_checked_before_the_decomposition() -> None:
    with pytest.raises(EditError, match="block 0: expected a rank from 1 to 2, got 9"):
        truncate(torch.full((4, 4), float("nan")), (9, 1))


def test_a_rank_for_each_block() -> None:
    with pytest.raises(EditError, match="expected 2 block ranks, one a row block, got 3"):
        assemble(decompose(random_weight((4, 4)), 2), (1, 1, 1), torch.float64)


def test_blocks_of_a_big_weight_are_truncated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(90, 40, generator=torch.Generator().manual_seed(3)).half()
    ranks = [7, 30, 1]
    expected = truncate(weight, ranks)
    monkeypatch.setattr(lowrank, "BIG", 0)
    threads: set[int] = set()
    truncated = lowrank._truncated

    def watched(block: torch.Tensor, rank: int, dtype: torch.dtype) -> torch.Tensor:
        threads.add(threading.get_ident())
        return truncated(block, rank, dtype)

    monkeypatch.setattr(lowrank, "_truncated", watched)
    former = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(truncate(weight, ranks), expected)
    finally:
        torch.set_num_threads(former)
    assert threads
    assert threading.get_ident() not in threads
