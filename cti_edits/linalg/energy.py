"""How much of a matrix an edit keeps. Tensors only."""

from __future__ import annotations

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, partition_rows


def retained_energy(
    weight: torch.Tensor, edited: torch.Tensor, clusters: int, partition: str = ROW_BLOCKS
) -> tuple[float, ...]:
    """‖Ŵ_k‖²_F / ‖W_k‖²_F of each block, to 9 digits: Σ_{i≤j} σ_i² / Σ σ_i², 1 for a block of zeros.

    Rounding Ŵ to its dtype can take the quotient past 1, where it ends.

    Args:
        weight: W, (m, n), rows = output features.
        edited: Ŵ, likewise.
        clusters: K.
        partition: see `ranks.partition_rows`.

    Raises:
        EditError: the partition does not fit.
    """
    shares = []
    for rows in partition_rows(weight.shape[0], clusters, partition):
        members = slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)
        before, after = (float(one[members].double().square().sum()) for one in (weight, edited))
        shares.append(float(f"{min(after / before, 1.0):.9g}") if before else 1.0)
    return tuple(shares)
