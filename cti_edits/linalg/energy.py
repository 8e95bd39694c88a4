"""How much of a weight's energy, the sum of its squares, an edit keeps."""

from __future__ import annotations

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, partition_rows
from cti_edits.linalg.lowrank import row_selector


def retained_energy(
    weight: torch.Tensor, edited: torch.Tensor, clusters: int, partition: str = ROW_BLOCKS
) -> tuple[float, ...]:
    """‖Ŵ_k‖²_F / ‖W_k‖²_F = Σ_{i≤j} σ_i² / Σ σ_i² of each row block, to 9 digits; 1 for a block of zeros.

    At most 1, which rounding Ŵ to its dtype could exceed.

    Args:
        weight: W (m, n), rows = output features, any floating dtype.
        edited: Ŵ, of the same shape.
        clusters: K, the number of row blocks.
        partition: which rows make a block; see `ranks.partition_rows`.

    Raises:
        EditError: the partition does not fit.
    """
    shares = []
    for rows in partition_rows(weight.shape[0], clusters, partition):
        before, after = (float(one[row_selector(rows)].double().square().sum()) for one in (weight, edited))
        shares.append(float(f"{min(after / before, 1.0):.9g}") if before else 1.0)
    return tuple(shares)
