"""Rows of fused weights beside numpy's indexing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cti_edits.artifact.rows import Rows
from cti_edits.linalg.fused_rows import columns_of, in_columns, put_rows, rows_of

CASES = (None, Rows(0, 12), Rows(3, 7), Rows(1, 3, 4, 3), Rows(2, 3, 5, 2))


@pytest.mark.parametrize("rows", CASES)
def test_rows_are_read_and_written_alone(rows: Rows | None) -> None:
    matrix = torch.randn((12, 5), generator=torch.Generator().manual_seed(0))
    expected = matrix.numpy().copy()
    numbers = list(range(12) if rows is None else rows)
    assert np.array_equal(rows_of(matrix, rows).numpy(), expected[numbers])
    values = torch.arange(len(numbers) * 5).float().view(-1, 5)
    put_rows(matrix, rows, values)
    expected[numbers] = values.numpy()
    assert np.array_equal(matrix.numpy(), expected)


def test_rows_of_a_transposed_matrix_are_its_columns() -> None:
    stored = torch.arange(20.0).view(4, 5)
    put_rows(stored.T, Rows(1, 2, 3, 2), torch.zeros((2, 4)))
    assert stored[:, [1, 4]].abs().sum() == 0
    assert torch.equal(stored[:, [0, 2, 3]], torch.arange(20.0).view(4, 5)[:, [0, 2, 3]])


@pytest.mark.parametrize("rows", CASES)
def test_what_a_layer_gives_by_its_rows(rows: Rows | None) -> None:
    weight, x = torch.randn((12, 5)).double(), torch.randn((2, 3, 5)).double()
    whole = x @ weight.T
    alone = x @ rows_of(weight, rows).T
    assert torch.allclose(columns_of(whole, rows), alone)
    back = in_columns(alone, rows, whole)
    numbers = list(range(12) if rows is None else rows)
    rest = [number for number in range(12) if number not in numbers]
    assert torch.allclose(back[..., numbers], whole[..., numbers])
    assert not back[..., rest].any()
