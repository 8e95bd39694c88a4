"""The layer that runs factors beside its weight. In models it is tested with the method `directions`."""

from __future__ import annotations

import copy

import pytest
import torch

from cti_edits.linalg.factors import LowRank
from cti_edits.methods.added_low_rank import AddedLowRank
from tests.methods.test_factored_linear import conv1d

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SIZES = (17, 16, 15)


def low(rows: int, rank: int, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rows, rank, generator=generator) * 0.1, torch.randn(rank, 20, generator=generator) * 0.1)


ONE = ([low(48, 3)], (48,))
SEVERAL = ([low(17, 2), None, low(15, 1, seed=1)], SIZES)


def added(blocks: list[LowRank | None], sizes: tuple[int, ...]) -> torch.Tensor:
    return torch.cat(
        [
            torch.zeros(size, 20) if block is None else block.left @ block.right
            for block, size in zip(blocks, sizes, strict=True)
        ]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [ONE, SEVERAL], ids=["one block", "three blocks"])
@pytest.mark.parametrize("inputs", [(20,), (1, 20), (2, 5, 20), (0, 20)])
@pytest.mark.parametrize("kind", ["linear", "no bias", "conv1d"])
def test_the_layer_gives_what_the_dense_sum_gives(
    kind: str, inputs: tuple[int, ...], case: tuple[list[LowRank | None], tuple[int, ...]], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(20, 48, bias=kind != "no bias", dtype=dtype)
    blocks, sizes = case
    layer = AddedLowRank(conv1d(linear) if kind == "conv1d" else linear, blocks, sizes)
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    expected = copy.deepcopy(linear)
    with torch.no_grad():
        expected.weight.copy_(linear.weight.double() + added(blocks, sizes).double())
    x = torch.randn(inputs, dtype=dtype)
    found = layer(x)
    assert (found.shape, found.dtype) == ((*inputs[:-1], 48), dtype)
    # The factors are float32.
    unit = max(torch.finfo(dtype).eps, 1e-8)
    torch.testing.assert_close(found, expected(x), rtol=4 * unit, atol=8 * unit)


def test_rows_of_blocks_without_factors_are_the_base_s_own() -> None:
    linear = torch.nn.Linear(20, 48)
    x = torch.randn(3, 20)
    found, plain = AddedLowRank(linear, *SEVERAL)(x), linear(x)
    assert torch.equal(found[:, 17:33], plain[:, 17:33])
    assert not torch.isclose(found[:, :17], plain[:, :17]).all()
    assert not torch.isclose(found[:, 33:], plain[:, 33:]).all()


@pytest.mark.parametrize("case", [ONE, SEVERAL], ids=["one block", "three blocks"])
def test_there_is_no_second_dense_matrix(case: tuple[list[LowRank | None], tuple[int, ...]]) -> None:
    linear = torch.nn.Linear(20, 48)
    layer = AddedLowRank(linear, *case)
    assert layer.weight is linear.weight
    assert layer.base is linear
    numbers = sum(block.left.numel() + block.right.numel() for block in case[0] if block is not None)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 48 * 20 + 48 + numbers
    assert not list(layer.buffers())
    # A copy of its own: what is done to the layer does not reach the caller's factors.
    with torch.no_grad():
        layer.right.zero_()
    assert bool(case[0][0].right.any())  # type: ignore[union-attr]


def test_the_layer_is_as_trainable_as_the_one_whose_place_it_takes() -> None:
    linear = torch.nn.Linear(20, 48)
    layer = AddedLowRank(linear.eval(), *SEVERAL)
    assert not layer.training
    layer(torch.randn(3, 20)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    linear.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in AddedLowRank(linear, *SEVERAL).parameters())
    assert AddedLowRank(linear.train(), *SEVERAL).training


def test_what_the_layer_says_of_itself() -> None:
    assert "added ranks=(2, 0, 1)" in str(AddedLowRank(torch.nn.Linear(20, 48), *SEVERAL))
