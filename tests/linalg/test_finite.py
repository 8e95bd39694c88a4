"""One element is enough, wherever it is, in each dtype."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.linalg.finite import all_finite

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@given(
    size=st.integers(1, 200),
    place=st.integers(0, 199),
    value=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    dtype=st.sampled_from(DTYPES),
    transposed=st.booleans(),
)
def test_one_element(size: int, place: int, value: float, dtype: torch.dtype, transposed: bool) -> None:
    tensor = torch.linspace(-2, 2, 2 * size).to(dtype).view(2, size)
    tensor = tensor.mT if transposed else tensor
    assert all_finite(tensor)
    tensor[place % tensor.shape[0], place % tensor.shape[1]] = value
    assert not all_finite(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_finite(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    assert all_finite(torch.tensor([-largest, largest, torch.finfo(dtype).smallest_normal], dtype=dtype))
    assert all_finite(torch.empty(0, 3, dtype=dtype))
