"""Ways to assign the rows of a matrix to K blocks. No torch here.

`Partition` is what a plugin's hook ``partitions`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cti_edits.artifact.ranks import HEXADECIMAL, K_SUBSPACES, MAX_SUBSPACES, ROW_BLOCKS
from cti_edits.errors import EditError
from cti_edits.plugins import find_part

if TYPE_CHECKING:
    import torch

K_MEANS = "k-means"


@dataclass(frozen=True)
class Partition:
    """A way to assign the rows of a matrix to blocks.

    Attributes:
        name: what it is asked for by.
        summary: what it is, in a line.
        assign: from W (m, n), K, ρ and a seed to the partition as a manifest writes it; see `blocks_of_rows`.
        max_clusters: the largest K that it takes; None for as many as there are rows. A manifest has room for 16
            blocks whose rows are not consecutive.
    """

    name: str
    summary: str
    assign: Callable[[torch.Tensor, int, float, int], str]
    max_clusters: int | None = MAX_SUBSPACES


def find_partition(name: str) -> Partition:
    """The partition ``name``, built in or a plugin's.

    Raises:
        EditError: there is none, or there are two.
    """
    return find_part("partitions", Partition, name)


def blocks_of_rows(blocks: Sequence[int]) -> str:
    """A partition as a manifest writes it, from the number of each row's block.

    >>> blocks_of_rows([0, 1, 1, 0])
    'k-subspaces:0110'

    Raises:
        EditError: a block is not 0 to 15.
    """
    for row, block in enumerate(blocks):
        if not 0 <= block < MAX_SUBSPACES:
            raise EditError(f"row {row}: expected a block from 0 to {MAX_SUBSPACES - 1}, got {block}")
    return K_SUBSPACES + "".join(HEXADECIMAL[block] for block in blocks)


def _row_blocks(weight: torch.Tensor, clusters: int, rho: float, seed: int) -> str:  # noqa: ARG001
    return ROW_BLOCKS


def _k_subspaces(weight: torch.Tensor, clusters: int, rho: float, seed: int) -> str:
    from cti_edits.linalg.subspaces import k_subspaces

    return k_subspaces(weight, clusters, rho, seed)


def _k_means(weight: torch.Tensor, clusters: int, rho: float, seed: int) -> str:  # noqa: ARG001
    from cti_edits.linalg.k_means import k_means

    return k_means(weight, clusters, seed)


PARTITIONS = (
    Partition(ROW_BLOCKS, "consecutive rows", _row_blocks, None),
    Partition(K_SUBSPACES.rstrip(":"), "each row to the nearest of K subspaces", _k_subspaces),
    Partition(K_MEANS, "each row, by its direction, to the nearest of K centres", _k_means),
)
"""Those that come with cti-edits."""
