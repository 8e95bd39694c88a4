from __future__ import annotations

import pytest
import torch

from cti_edits.artifact.ranks import full_ranks
from cti_edits.linalg.energy import retained_energy
from cti_edits.linalg.lowrank import decompose, truncate

SUBSPACES = "k-subspaces:" + "0120" * 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_is_that_of_the_squared_singular_values(dtype: torch.dtype) -> None:
    weight = torch.randn(23, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    ranks = (1, 4, 7)
    expected = [
        float(block.S[:rank].square().sum() / block.S.square().sum())
        for block, rank in zip(decompose(weight, 3), ranks, strict=True)
    ]
    assert full_ranks((23, 9), 3)[2] == 7
    assert retained_energy(weight, truncate(weight, ranks), 3) == pytest.approx(expected, abs=2e-3)
    if dtype == torch.float32:
        assert retained_energy(weight, truncate(weight, ranks), 3) == pytest.approx(expected, abs=1e-7)


def test_rows_go_to_the_blocks_of_the_partition() -> None:
    weight = torch.randn(24, 9, generator=torch.Generator().manual_seed(0))
    edited = truncate(weight, (2, 3, 6), partition=SUBSPACES)
    found = retained_energy(weight, edited, 3, SUBSPACES)
    members = [number for number, digit in enumerate(SUBSPACES.removeprefix("k-subspaces:")) if digit == "0"]
    assert found[0] == pytest.approx(float(edited[members].square().sum() / weight[members].square().sum()))
    assert found != retained_energy(weight, edited, 3)


def test_a_block_of_zeros_keeps_all_and_no_share_is_above_one() -> None:
    weight = torch.zeros(4, 3)
    weight[2:] = 1.0
    assert retained_energy(weight, weight * 1.001, 2) == (1.0, 1.0)
