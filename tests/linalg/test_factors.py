"""Factors of an edited matrix, and their exact product."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.ranks import block_ranks
from cti_edits.linalg.factors import (
    LowRank,
    factored_blocks,
    is_smaller,
    low_rank,
    reproducible_product,
    weight_of_blocks,
)
from cti_edits.linalg.lowrank import truncate

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SUBSPACES = "k-subspaces:" + "0120" * 12


def weight_of(shape: tuple[int, int], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.02).to(dtype)


# The product


def exact(left: torch.Tensor, right: torch.Tensor) -> list[list[Fraction]]:
    rows = [[Fraction(value) for value in row] for row in left.double().tolist()]
    columns = [[Fraction(value) for value in column] for column in right.double().T.tolist()]
    return [[sum((a * b for a, b in zip(row, column, strict=True)), Fraction()) for column in columns] for row in rows]


@st.composite
def factor_pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Of any magnitudes that float32 has, and of very different ones in one row."""
    rows, inner, columns = draw(st.integers(1, 5)), draw(st.integers(1, 20)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    pair = []
    for shape in ((rows, inner), (inner, columns)):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        exponents = torch.randint(-draw(st.integers(0, 60)) - 1, 1, shape, generator=generator)
        values = values * 2.0**exponents * (torch.rand(shape, generator=generator) > draw(st.sampled_from([0, 0.5])))
        pair.append(values.to(dtype))
    return pair[0], pair[1]


@given(factor_pairs(), st.randoms(use_true_random=False))
def test_the_product_is_near_the_exact_one_and_the_same_in_any_order(
    pair: tuple[torch.Tensor, torch.Tensor], order: Any
) -> None:
    left, right = pair
    found = reproducible_product(left, right)
    assert found.dtype == torch.float64
    rank = left.shape[1]
    bits = (53 - (rank - 1).bit_length()) // 2
    slices = 3 if left.dtype == torch.float64 else 2
    for row, values in enumerate(exact(left, right)):
        for column, value in enumerate(values):
            largest = float(left[row].abs().max()) * float(right[:, column].abs().max())
            bound = rank * largest * 2.0 ** (2 - slices * bits) + abs(float(value)) * 2.0**-51
            assert abs(Fraction(float(found[row, column])) - value) <= Fraction(bound)
    shuffled = list(range(rank))
    order.shuffle(shuffled)
    assert torch.equal(reproducible_product(left[:, shuffled], right[shuffled]), found)
    # Rows alone, as another machine may cut the matrix for its threads.
    assert torch.equal(torch.cat([reproducible_product(row[None], right) for row in left]), found)


def test_an_ordinary_product_depends_on_the_order() -> None:
    """Else the test above would show nothing."""
    left, right = torch.randn(50, 300, dtype=torch.float64), torch.randn(300, 50, dtype=torch.float64)
    assert not torch.equal(left.flip(1) @ right.flip(0), left @ right)
    assert torch.equal(reproducible_product(left.flip(1), right.flip(0)), reproducible_product(left, right))


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 511, 512, 513, 4096])
def test_no_partial_sum_of_slices_rounds(rank: int) -> None:
    """The largest values that a slice can have, all of one sign."""
    bits = (53 - (rank - 1).bit_length()) // 2
    largest = 1.0 - 2.0**-bits
    left, right = (torch.full(shape, largest, dtype=torch.float64) for shape in ((3, rank), (rank, 2)))
    assert Fraction(float(reproducible_product(left, right)[0, 0])) == rank * Fraction(largest) ** 2


@pytest.mark.parametrize("rank", [2, 64, 512])
def test_sums_near_the_largest_are_the_same_in_any_order(rank: int) -> None:
    """All of one sign, so that one more bit in a slice would make partial sums round."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(40, rank, generator=generator, dtype=torch.float64) / 8 + 0.875
    right = torch.rand(rank, 40, generator=generator, dtype=torch.float64) / 8 + 0.875
    found = reproducible_product(left, right)
    one_by_one = torch.zeros_like(found)
    for _ in range(5):
        order = torch.randperm(rank, generator=generator)
        assert torch.equal(reproducible_product(left[:, order], right[order]), found)
    for number in range(rank):
        one_by_one += left[:, number, None] * right[None, number]
    torch.testing.assert_close(found, one_by_one, rtol=1e-13, atol=0)


def test_a_row_of_zeros_and_the_smallest_numbers() -> None:
    left = torch.tensor([[0.0, 0.0], [1e-45, 1e-45], [-0.0, 3e38]])
    right = torch.tensor([[1e-45, 0.0], [1e-45, 3e38]])
    found = reproducible_product(left, right)
    expected = left.double() @ right.double()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


THREADS = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
from cti_edits.linalg.factors import weight_of_blocks
blocks = torch.load(sys.argv[2], weights_only=False)
sys.stdout.buffer.write(weight_of_blocks(blocks, 300, torch.float32).numpy().tobytes())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads_or_the_processor_s_instructions(tmp_path: Path) -> None:
    weight = weight_of((300, 200), torch.float32)
    blocks = factored_blocks(weight, block_ranks((300, 200), 2, 0.2))
    torch.save(blocks, tmp_path / "blocks.pt")
    expected = weight_of_blocks(blocks, 300, torch.float32).numpy().tobytes()
    for threads, instructions in (("1", "default"), ("2", "avx2"), ("2", "default")):
        environment = {**os.environ, "ATEN_CPU_CAPABILITY": instructions, "MKL_CBWR": "COMPATIBLE"}
        words = [sys.executable, "-c", THREADS, threads, str(tmp_path / "blocks.pt")]
        done = subprocess.run(words, capture_output=True, env=environment, check=True)
        assert done.stdout == expected


# Factors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("partition", ["row-blocks", SUBSPACES])
@pytest.mark.parametrize("shape", [(48, 100), (48, 20)])
@pytest.mark.parametrize("rho", [0.1, 0.3, 0.8, 1.0])
def test_factors_make_the_edited_matrix_within_the_rounding_of_its_dtype(
    rho: float, shape: tuple[int, int], partition: str, dtype: torch.dtype
) -> None:
    weight = weight_of(shape, dtype)
    ranks = block_ranks(shape, 3, rho, partition)
    blocks = factored_blocks(weight, ranks, partition)
    found = weight_of_blocks(blocks, shape[0], dtype, partition)
    expected = truncate(weight, ranks, partition=partition)
    assert found.dtype == dtype
    if rho == 1.0:
        assert torch.equal(found, weight)
    unit = torch.finfo(dtype).eps
    # Both are near the exact Ŵ: to half a unit of each number, and to some units of the largest where sums cancel.
    bound = unit * expected.abs().double() + (40 if dtype == torch.float64 else 2) * unit * float(expected.abs().max())
    assert bool(((found.double() - expected.double()).abs() <= bound).all())
    if dtype in (torch.float16, torch.bfloat16):
        assert float((found != expected).double().mean()) < 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_has_factors_only_where_they_have_fewer_numbers(dtype: torch.dtype) -> None:
    weight = weight_of((20, 10), dtype)
    for rank in range(1, 11):
        (block,) = factored_blocks(weight, [rank])
        if isinstance(block, LowRank):
            assert block.left.numel() + block.right.numel() < 200
            assert block.left.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        else:
            assert rank * 30 >= 200
            assert block.dtype == dtype
            assert torch.equal(block, truncate(weight, [rank]))
        assert isinstance(block, LowRank) == is_smaller(20, 10, rank)


def hard(kind: str, shape: tuple[int, int]) -> torch.Tensor:
    """Blocks of rank 3 at most that a Gram matrix does not see well, or not at all."""
    generator = torch.Generator().manual_seed(1)
    left = torch.linalg.qr(torch.randn(shape[0], 3, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(shape[1], 3, generator=generator, dtype=torch.float64))[0].T
    sizes = {"graded": [1.0, 1e-5, 1e-9], "zero": [0.0] * 3, "rank one": [1.0, 0, 0], "tied": [1.0, 1.0, 1.0]}[kind]
    block: torch.Tensor = (left * torch.tensor(sizes)) @ right
    return block


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (12, 12)])
@pytest.mark.parametrize("kind", ["graded", "zero", "rank one", "tied"])
def test_factors_of_blocks_with_few_singular_values(kind: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = hard(kind, shape).to(dtype)
    found = low_rank(block, 3)
    assert bool(found.left.isfinite().all() and found.right.isfinite().all())
    off = torch.linalg.vector_norm(found.left.double() @ found.right.double() - block.double())
    assert float(off) <= 8 * torch.finfo(dtype).eps * float(torch.linalg.vector_norm(block.double()))
