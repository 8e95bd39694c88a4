from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.manifest import parse
from cti_edits.artifact.ranks import block_ranks, full_ranks, kept_parameters, partition_rows
from cti_edits.errors import EditError, ManifestError
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.subspaces import k_subspaces
from cti_edits.models.apply import applied, target_matrix
from tests.support.edits import cuts, edit_of
from tests.support.tiny_models import tiny_model


def residual(weight: torch.Tensor, partition: str, clusters: int, dimension: int) -> float:
    """Sum over blocks of what is lost when each is cut to ``dimension``; by the singular values alone."""
    lost = 0.0
    for rows in partition_rows(weight.shape[0], clusters, partition):
        values = torch.linalg.svdvals(weight[list(rows)].double())
        lost += float((values[dimension:] ** 2).sum())
    return lost


def three_subspaces() -> torch.Tensor:
    """90 rows that lie in turn in three subspaces of 4 dimensions, of 40."""
    generator = torch.Generator().manual_seed(1)
    bases = [torch.randn(4, 40, generator=generator) for _ in range(3)]
    return torch.stack([torch.randn(4, generator=generator) @ bases[row % 3] for row in range(90)])


def test_rows_of_three_subspaces_are_told_apart() -> None:
    weight = three_subspaces()
    partition = k_subspaces(weight, 3, 4 / 30, seed=0)
    blocks = set(partition_rows(90, 3, partition))
    assert blocks == {tuple(range(start, 90, 3)) for start in range(3)}
    ranks = block_ranks((90, 40), 3, 4 / 30, partition)
    assert ranks == (4, 4, 4)
    torch.testing.assert_close(truncate(weight, ranks, partition=partition), weight)
    # Consecutive blocks of these rows cannot be cut so far.
    assert (truncate(weight, ranks) - weight).norm() > 0.5 * weight.norm()


def test_each_block_is_truncated_by_itself() -> None:
    weight = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    edited = truncate(weight, (1, 2), partition="k-subspaces:0110100")
    for rows, rank in (([0, 3, 5, 6], 1), ([1, 2, 4], 2)):
        U, S, V = torch.linalg.svd(weight[rows].double(), full_matrices=False)
        assert torch.equal(edited[rows], ((U[:, :rank] * S[:rank]) @ V[:rank]).to(torch.bfloat16))


@given(
    rows=st.integers(2, 24),
    columns=st.integers(1, 12),
    clusters=st.integers(1, 5),
    rho=st.floats(0.01, 1.0),
    seed=st.integers(0, 9),
)
def test_it_loses_no_more_than_consecutive_blocks(
    rows: int, columns: int, clusters: int, rho: float, seed: int
) -> None:
    clusters = min(clusters, rows)
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    partition = k_subspaces(weight, clusters, rho, seed)
    blocks = partition_rows(rows, clusters, partition)
    assert sorted(row for block in blocks for row in block) == list(range(rows))
    dimension = block_ranks((max(1, rows // clusters), columns), 1, rho)[0]
    lost = residual(weight, partition, clusters, dimension)
    assert lost <= residual(weight, "row-blocks", clusters, dimension) * (1 + 1e-9) + 1e-9


def test_it_is_the_same_every_time_and_the_seed_counts() -> None:
    weight = torch.randn(60, 20, generator=torch.Generator().manual_seed(3))
    found = {k_subspaces(weight, 4, 0.2, seed) for seed in (0, 0, 1, 2)}
    assert 1 < len(found) <= 3
    assert k_subspaces(weight, 4, 0.2, 0) == k_subspaces(weight, 4, 0.2, 0)


def test_one_block_and_a_zero_weight() -> None:
    assert k_subspaces(torch.randn(5, 3), 1, 0.5) == "k-subspaces:00000"
    zero = k_subspaces(torch.zeros(6, 3), 3, 0.5)
    assert all(len(block) >= 1 for block in partition_rows(6, 3, zero))


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
        k_subspaces(weight, clusters, 0.5)


@pytest.mark.parametrize(
    ("partition", "clusters", "message"),
    [
        ("k-subspaces:001", 2, "expected 4 digits, one a row, got 3"),
        ("k-subspaces:0012", 2, "row 3: expected a block from 0 to 1, got '2'"),
        ("k-subspaces:0000", 2, "block 1 has no rows"),
        ("k-subspaces:0011", 17, "expected clusters from 1 to 16 with 'k-subspaces:', got 17"),
        ("by-hand", 2, "expected 'row-blocks' or 'k-subspaces:' and digits, got 'by-hand'"),
    ],
)
def test_partitions_that_do_not_fit(partition: str, clusters: int, message: str) -> None:
    with pytest.raises(EditError, match=message):
        partition_rows(4, clusters, partition)


def test_consecutive_blocks_are_those_of_tensor_split() -> None:
    for rows in range(1, 12):
        for clusters in range(1, rows + 1):
            expected = [block.tolist() for block in torch.tensor_split(torch.arange(rows), clusters)]
            assert [list(block) for block in partition_rows(rows, clusters)] == expected


def test_ranks_and_parameters_follow_the_size_of_each_block() -> None:
    partition = "k-subspaces:0000011"
    assert full_ranks((7, 4), 2, partition) == (4, 2)
    assert block_ranks((7, 4), 2, 0.5, partition) == (2, 1)
    assert kept_parameters((7, 4), (2, 1), partition) == 2 * (5 + 4) + 1 * (2 + 4)


def test_a_manifest_carries_it_and_it_is_applied() -> None:
    model = tiny_model("llama")
    weight = target_matrix(model, "U_in", 1).weight
    partition = k_subspaces(weight, 4, 0.2)
    edit = edit_of(model, ("U_in", 1, 4, 0.2))
    ranks = block_ranks((48, 32), 4, 0.2, partition)
    one = dataclasses.replace(cuts(edit)[0], partition=partition, block_ranks=ranks)
    edit = dataclasses.replace(edit, edits=(one,))

    again = parse(json.dumps(edit.to_json()).encode())
    assert again == edit
    assert again.digest() != edit_of(model, ("U_in", 1, 4, 0.2)).digest()
    former = weight.clone()
    with applied(again, model):
        assert torch.equal(target_matrix(model, "U_in", 1).weight, truncate(former, ranks, partition=partition))
    assert torch.equal(target_matrix(model, "U_in", 1).weight, former)
    document = edit.to_json()
    document["edits"][0]["partition"] = partition[:-1]
    with pytest.raises(ManifestError, match=r"edits\[0\]\.partition: expected 48 digits, one a row, got 47"):
        parse(json.dumps(document).encode())
