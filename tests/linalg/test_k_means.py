"""K-means on the directions of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2

from cti_edits.artifact.ranks import partition_rows
from cti_edits.errors import EditError
from cti_edits.linalg.k_means import k_means


def spread(weight: torch.Tensor, blocks: list[int]) -> float:
    """Sum of squared distances of the rows, divided by their lengths, from the means of their blocks."""
    rows = weight.double().numpy()
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    parts = [units[np.array(blocks) == block] for block in set(blocks)]
    return sum(float(((part - part.mean(axis=0)) ** 2).sum()) for part in parts)


def blocks_of(partition: str) -> list[int]:
    return [int(digit, 16) for digit in partition.removeprefix("k-subspaces:")]


def test_rows_about_three_directions_are_told_apart_whatever_their_lengths() -> None:
    generator = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(12, 3, generator=generator)).Q.mT
    lengths = torch.logspace(-3, 3, 90)[:, None]
    weight = lengths * (directions[torch.arange(90) % 3] + 0.01 * torch.randn(90, 12, generator=generator))
    assert set(partition_rows(90, 3, k_means(weight, 3))) == {tuple(range(start, 90, 3)) for start in range(3)}


def test_scipy_does_not_improve_it_and_is_no_better_from_one_start() -> None:
    weight = torch.randn(60, 5, generator=torch.Generator().manual_seed(2))
    units = torch.nn.functional.normalize(weight.double(), dim=1).numpy()
    ours = np.array(blocks_of(k_means(weight, 4)))
    centres = np.stack([units[ours == block].mean(axis=0) for block in range(4)])
    assert kmeans2(units, centres, iter=10, minit="matrix")[1].tolist() == ours.tolist()
    others = [spread(weight, kmeans2(units, 4, iter=100, minit="++", rng=seed)[1].tolist()) for seed in range(20)]
    assert spread(weight, ours.tolist()) <= np.mean(others)


@given(rows=st.integers(1, 20), columns=st.integers(1, 6), clusters=st.integers(1, 16), seed=st.integers(0, 9))
def test_every_row_is_nearest_to_its_own_mean(rows: int, columns: int, clusters: int, seed: int) -> None:
    clusters = min(clusters, rows)
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    partition = k_means(weight, clusters, seed)
    blocks = partition_rows(rows, clusters, partition)
    units = torch.nn.functional.normalize(weight.double(), dim=1)
    means = torch.stack([units[list(block)].mean(dim=0) for block in blocks])
    distances = torch.cdist(units, means)
    own = distances.gather(1, torch.tensor(blocks_of(partition))[:, None])[:, 0]
    assert torch.all(own <= distances.min(dim=1).values + 1e-6)


def test_it_is_the_same_every_time_and_the_seed_counts() -> None:
    weight = torch.randn(60, 20, generator=torch.Generator().manual_seed(3))
    assert k_means(weight, 4, 0) == k_means(weight, 4, 0)
    assert len({k_means(weight, 4, seed) for seed in range(3)}) > 1


def test_rows_that_are_all_alike_leave_no_block_empty() -> None:
    for weight in (torch.zeros(6, 3), torch.ones(6, 3, dtype=torch.bfloat16)):
        assert all(len(block) >= 1 for block in partition_rows(6, 3, k_means(weight, 3)))


@pytest.mark.parametrize(
    ("weight", "clusters", "message"),
    [
        (torch.full((3, 3), float("nan")), 2, "NaN or infinite"),
        (torch.ones(3, 3), 4, "expected clusters from 1 to 3, got 4"),
        (torch.ones(40, 3), 17, "expected clusters from 1 to 16, got 17"),
    ],
)
def test_what_cannot_be_assigned(weight: torch.Tensor, clusters: int, message: str) -> None:
    with pytest.raises(EditError, match=message):
        k_means(weight, clusters)
