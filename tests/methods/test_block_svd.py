"""The method ``block-svd``, against numpy's decompositions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.artifact.ranks import block_ranks, partition_rows
from cti_edits.linalg.factors import Block, LowRank
from cti_edits.methods.block_svd import edited_weight, factored_layer, factors, runs_as_factors
from tests.support.edits import entry

SHAPE = (48, 32)
SUBSPACES = "k-subspaces:" + "0120" * 12


def weight(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def cut(clusters: int, rho: float, partition: str = "row-blocks") -> BlockSvdEdit:
    ranks = block_ranks(SHAPE, clusters, rho, partition)
    return entry(clusters=clusters, rho=rho, block_ranks=ranks, partition=partition)


def plainly(W: torch.Tensor, one: BlockSvdEdit) -> np.ndarray[Any, Any]:
    """Each block's rows, cut to its rank by numpy."""
    found = W.numpy().copy()
    for rows, rank in zip(partition_rows(len(W), one.clusters, one.partition), one.block_ranks, strict=True):
        U, sigma, Vh = np.linalg.svd(found[list(rows)], full_matrices=False)
        found[list(rows)] = (U[:, :rank] * sigma[:rank]) @ Vh[:rank]
    return np.asarray(found)


EDITS = [cut(1, 0.25), cut(4, 0.1), cut(5, 0.5), cut(3, 0.2, SUBSPACES)]


@pytest.mark.parametrize("one", EDITS, ids=lambda one: f"{one.partition[:11]}-{one.clusters}")
def test_each_block_keeps_its_largest_singular_values(one: BlockSvdEdit) -> None:
    W = weight()
    np.testing.assert_allclose(edited_weight(W, one).numpy(), plainly(W, one), atol=1e-12)
    assert torch.equal(W, weight())


@pytest.mark.parametrize("one", EDITS, ids=lambda one: f"{one.partition[:11]}-{one.clusters}")
def test_factors_are_of_the_same_matrix(one: BlockSvdEdit) -> None:
    W, expected = weight(torch.float32), plainly(weight(), one)
    layer = torch.nn.Linear(32, 48)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    product = x.double().numpy() @ expected.T + layer.bias.detach().double().numpy()
    found = factored_layer(W, one, layer)(x)
    np.testing.assert_allclose(found.detach().numpy(), product, atol=1e-4)
    blocks = factors(W, one)
    assert sum(isinstance(block, LowRank) for block in blocks) > 0
    np.testing.assert_allclose(edited_weight(W, one, blocks).numpy(), expected, atol=1e-5)


def test_a_block_of_a_file_that_keeps_all_of_its_ranks_is_the_base_s_own() -> None:
    one, W = entry(block_ranks=(24, 3)), weight(torch.float32)
    packed: list[Block | None] = [None, factors(W, one)[1]]
    found = edited_weight(W, one, packed)
    assert torch.equal(found[:24], W[:24])
    assert not torch.equal(found[24:], W[24:])
    with pytest.raises(ValueError, match="argument"):
        edited_weight(W, one, packed[:1])


@pytest.mark.parametrize(("ranks", "smaller"), [((24, 24), False), ((20, 20), False), ((3, 24), True), ((1, 1), True)])
def test_whether_factors_are_worth_it(ranks: tuple[int, int], smaller: bool) -> None:
    assert runs_as_factors(entry(block_ranks=ranks)) is smaller
