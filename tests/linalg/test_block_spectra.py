"""One decomposition for every rank: truncation as `lowrank.truncate` has it, ties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given

from cti_edits.artifact.ranks import full_ranks
from cti_edits.errors import EditError
from cti_edits.linalg import block_spectra as module
from cti_edits.linalg.block_spectra import (
    block_spectra,
    tied,
    tied_blocks,
    truncate_with,
)
from cti_edits.linalg.lowrank import decompose, truncate
from tests.linalg.test_gram import NARROW, check_as_exact
from tests.support.matrices import random_block, weights_and_ranks, with_spectrum

DTYPES = [torch.float64, *NARROW]


def cuts(most: int) -> list[int]:
    return sorted({1, 2, most // 3, most // 2, most // 2 + 1, most - 1, most} & set(range(1, most + 1)))


def check_truncation(weight: torch.Tensor, edited: torch.Tensor, ranks: Sequence[int]) -> None:
    for after, before, rank in zip(
        torch.tensor_split(edited, len(ranks)), torch.tensor_split(weight, len(ranks)), ranks, strict=True
    ):
        if rank == min(before.shape):
            assert torch.equal(after, before)
        else:
            check_as_exact(after, before, rank)


@pytest.fixture
def decomposed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the blocks that were decomposed by singular values."""
    shapes: list[tuple[int, ...]] = []

    def counted(weight: torch.Tensor, *rest: Any) -> Any:
        shapes.append(tuple(weight.shape))
        return decompose(weight, *rest)

    monkeypatch.setattr(module, "decompose", counted)
    return shapes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "clusters"), [((90, 40), 1), ((40, 90), 3), ((50, 50), 1), ((41, 20), 2)])
def test_every_rank_from_one_decomposition(
    shape: tuple[int, int], clusters: int, dtype: torch.dtype, decomposed: list[tuple[int, ...]]
) -> None:
    weight = random_block(*shape, dtype)
    spectra = block_spectra(weight, clusters)
    for rank in cuts(min(full_ranks(shape, clusters))):
        edited = truncate_with(weight, spectra, [rank] * clusters)
        assert edited.dtype == dtype
        check_truncation(weight, edited, [rank] * clusters)
    assert len(decomposed) == (clusters if dtype == torch.float64 else 0)
    assert [spectrum.shape for spectrum in spectra] == [tuple(b.shape) for b in torch.tensor_split(weight, clusters)]


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(70, 30), (30, 70), (30, 30)])
def test_conditioning(shape: tuple[int, int], dtype: torch.dtype, condition: float) -> None:
    weight = with_spectrum(*shape, torch.logspace(0, -math.log10(condition), 30, dtype=torch.float64)).to(dtype)
    spectra = block_spectra(weight, 1)
    if condition > 1.0:
        for rank in (1, 4, 11, 16, 25, 29):
            check_truncation(weight, truncate_with(weight, spectra, [rank]), [rank])


@pytest.mark.parametrize("seed", range(8))
def test_squares_that_drown_in_the_first_are_noticed(seed: int, decomposed: list[tuple[int, ...]]) -> None:
    """The matrix of `test_gram`: rows 2 and 3 are mixed up in its Gram matrix, row 1 is not."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(6, 3, generator=generator, dtype=torch.float64))[0].mT
    block = (torch.tensor([[1.0], [1.5e-8], [1.4e-8]], dtype=torch.float64) * directions).float()
    tall = torch.cat([block, torch.zeros(4, 6)])
    spectra = block_spectra(tall, 1)
    check_as_exact(truncate_with(tall, spectra, [1]), tall, 1)
    assert decomposed == []
    for _ in range(2):
        assert torch.equal(truncate_with(tall, spectra, [2]), truncate(tall, [2]))
    # Once, and kept.
    assert decomposed == [(7, 6)]
    check_as_exact(truncate_with(tall, spectra, [1]), tall, 1)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (5, 5)])
def test_a_tie_at_the_cut_has_the_bits_of_truncate(shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = torch.zeros(shape, dtype=dtype)
    block.diagonal().copy_(torch.tensor([4.0, 2.0, 2.0, 2.0, 1.0]))
    spectra = block_spectra(block, 1)
    assert [tied(spectra[0], rank) for rank in range(1, 6)] == [False, True, True, False, False]
    for rank in (2, 3):
        assert torch.equal(truncate_with(block, spectra, [rank]), truncate(block, [rank]))
    for rank in (1, 4):
        check_as_exact(truncate_with(block, spectra, [rank]), block, rank)
    # The same from singular values.
    assert spectra[0].exact is not None
    assert [tied(spectra[0], rank) for rank in range(1, 6)] == [False, True, True, False, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
def test_deficient_blocks(shape: tuple[int, int], dtype: torch.dtype) -> None:
    zero = torch.zeros(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-2, 3, size, generator=generator) for size in ((shape[0], 3), (3, shape[1])))
    deficient = (left @ right).to(dtype)
    for weight in (zero, deficient):
        spectra = block_spectra(weight, 1)
        for rank in (1, 3, 5, 19, 20):
            check_truncation(weight, truncate_with(weight, spectra, [rank]), [rank])
            assert not tied(spectra[0], rank)
            assert tied_blocks(weight, [rank]) == ()


def test_tied_blocks_are_those_of_the_partition() -> None:
    """Rows 0, 2 and 3 in one block, 1, 4 and 5 in the other: only the first has equal values."""
    weight = torch.diag(torch.tensor([2.0, 5.0, 2.0, 1.0, 4.0, 3.0]))
    assert tied_blocks(weight, [1, 1], "k-subspaces:010011") == (0,)
    assert tied_blocks(weight, [2, 1], "k-subspaces:010011") == ()
    assert tied_blocks(weight, [1, 1], "row-blocks") == ()
    assert tied_blocks(weight, [2, 3]) == (0,)
    equal = torch.eye(4)
    assert tied_blocks(equal, [1, 1]) == (0, 1)
    assert tied_blocks(equal, [2, 1]) == (1,)


@pytest.mark.parametrize("size", [1e200, 1e-170])
def test_ties_whose_squares_leave_the_range_of_float64(size: float) -> None:
    weight = torch.diag(torch.tensor([3.0, 2.0, 2.0, 1.0], dtype=torch.float64)) * size
    assert [tied_blocks(weight, [rank]) for rank in (1, 2, 3)] == [(), (0,), ()]
    (spectrum,) = block_spectra(weight, 1)
    assert [tied(spectrum, rank) for rank in (1, 2, 3)] == [False, True, False]


@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-12, 1e-7])
@pytest.mark.parametrize("size", [1.0, 1e-7])
def test_how_far_apart_is_a_tie(size: float, apart: float) -> None:
    """Values that squares cannot tell apart, but float64 can, are no tie."""
    values = torch.tensor([1.0, 0.5, size * 0.25, size * 0.25 - apart, size * 0.125], dtype=torch.float64)
    weight = with_spectrum(8, 5, values)
    assert tied_blocks(weight, [3]) == ((0,) if apart <= 1e-15 else ())
    assert tied(block_spectra(weight, 1)[0], 3) == (apart <= 1e-15)


def test_the_squares_say_tie_until_singular_values_are_there() -> None:
    """1e-6 and a ten-thousandth less: their squares are 2e-16 apart, beside 1."""
    weight = torch.diag(torch.tensor([1.0, 1e-6, 1e-6 * (1 - 1e-4), 1e-7]))
    (spectrum,) = block_spectra(weight, 1)
    assert tied(spectrum, 2)
    spectrum.decomposed(weight)
    assert not tied(spectrum, 2)
    assert tied_blocks(weight, [2]) == ()


@given(weights_and_ranks(DTYPES))
def test_any_weight(case: tuple[torch.Tensor, tuple[int, ...]]) -> None:
    weight, ranks = case
    spectra = block_spectra(weight, len(ranks))
    check_truncation(weight, truncate_with(weight, spectra, ranks), ranks)
    # After a truncation the spectra know ties as well as the singular values do.
    assert tied_blocks(weight, ranks) == tuple(k for k, rank in enumerate(ranks) if tied(spectra[k], rank))


def test_wrong_arguments_are_refused() -> None:
    weight = random_block(12, 8, torch.float32)
    spectra = block_spectra(weight, 2)
    with pytest.raises(EditError, match=r"block 0: its spectrum is of \(6, 8\), the block has \(7, 8\)"):
        truncate_with(random_block(14, 8, torch.float32), spectra, [1, 1])
    with pytest.raises(EditError, match="expected 2 block ranks"):
        truncate_with(weight, spectra, [1])
    with pytest.raises(EditError, match="block 1: expected a rank from 1 to 6, got 7"):
        truncate_with(weight, spectra, [1, 7])
    with pytest.raises(EditError, match="block 1: expected a rank from 1 to 6, got 0"):
        tied_blocks(weight, [1, 0])
    with pytest.raises(EditError, match="expected clusters from 1 to 12"):
        block_spectra(weight, 13)
    weight[0, 0] = math.nan
    for refused in (lambda: block_spectra(weight, 1), lambda: tied_blocks(weight, [1])):
        with pytest.raises(EditError, match="the weight holds NaN or infinite values"):
            refused()


def test_the_weight_is_left_alone() -> None:
    weight = random_block(12, 8, torch.float32)
    former = weight.clone()
    truncate_with(weight, block_spectra(weight, 1), [8]).zero_()
    assert torch.equal(weight, former)
