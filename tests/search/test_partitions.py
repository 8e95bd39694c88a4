"""Partitions by their names, and what a manifest writes of one."""

from __future__ import annotations

import doctest

import pytest
import torch

from cti_edits.artifact.ranks import partition_rows
from cti_edits.errors import EditError
from cti_edits.linalg.k_means import k_means
from cti_edits.linalg.subspaces import k_subspaces
from cti_edits.search import partitions
from cti_edits.search.partitions import blocks_of_rows, find_partition

WEIGHT = torch.arange(48.0).reshape(8, 6).sin()


def test_those_that_come_along_are_what_they_say() -> None:
    assert find_partition("row-blocks").assign(WEIGHT, 3, 0.5, 0) == "row-blocks"
    for seed in (0, 1):
        assert find_partition("k-subspaces").assign(WEIGHT, 3, 0.5, seed) == k_subspaces(WEIGHT, 3, 0.5, seed)
        assert find_partition("k-means").assign(WEIGHT, 3, 0.5, seed) == k_means(WEIGHT, 3, seed)
    assert find_partition("k-means").max_clusters == 16
    assert (find_partition("row-blocks").max_clusters, find_partition("k-subspaces").max_clusters) == (None, 16)


def test_blocks_of_rows_are_read_back() -> None:
    assert doctest.testmod(partitions).failed == 0
    written = blocks_of_rows([15, *range(15), 3])
    assert partition_rows(17, 16, written)[3] == (4, 16)


@pytest.mark.parametrize("block", [-1, 16])
def test_a_block_that_a_manifest_has_no_room_for(block: int) -> None:
    with pytest.raises(EditError, match=f"^row 1: expected a block from 0 to 15, got {block}$"):
        blocks_of_rows([0, block])
