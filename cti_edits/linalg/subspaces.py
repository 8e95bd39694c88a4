"""K-subspaces: each row goes to the nearest of K subspaces (the paper's optimal clustering)."""

from __future__ import annotations

import torch

from cti_edits.artifact.ranks import HEXADECIMAL, K_SUBSPACES, MAX_SUBSPACES, block_ranks, partition_rows
from cti_edits.errors import EditError
from cti_edits.linalg.finite import all_finite

ROUNDS = 20
"""The most rounds of fitting subspaces and assigning rows; for most weights the residual stops falling earlier."""

STARTS = 4
"""Random starts beside the consecutive blocks: each ends in a local minimum, and they differ."""


def k_subspaces(
    weight: torch.Tensor, clusters: int, rho: float, seed: int = 0, dtype: torch.dtype = torch.float64
) -> str:
    """A partition of the rows of ``weight`` into K blocks that low ranks fit well, as a manifest writes it.

    Alternates: the leading right singular vectors of each block span its subspace, of dimension
    max(1, ⌊ρ · min(m / K, n)⌋), and each row goes to the subspace with the least residual, at a tie to the first. It
    ends when the residual no longer falls, or after `ROUNDS`. It is run from consecutive row blocks, and from `STARTS`
    random starts, in which each row goes to the nearest in angle of K rows drawn at random. The run with the least
    residual is taken, so that it is never more than that of consecutive blocks.

    Args:
        weight: (m, n), any floating dtype, finite.
        clusters: K, 1 ≤ K ≤ m and at most 16.
        rho: ρ, in (0, 1].
        seed: of the starts.
        dtype: working precision, float64 or float32.

    Returns:
        "k-subspaces:" and a hexadecimal digit for each row; see `ranks.partition_rows`.

    Raises:
        EditError: K is out of range, or a value is not finite.
    """
    rows, columns = weight.shape
    if not 1 <= clusters <= min(rows, MAX_SUBSPACES):
        raise EditError(f"expected clusters from 1 to {min(rows, MAX_SUBSPACES)}, got {clusters}")
    if not all_finite(weight):
        raise EditError("the weight holds NaN or infinite values, so its rows cannot be assigned")
    matrix = weight.detach().to(dtype)
    dimension = block_ranks((max(1, rows // clusters), columns), 1, rho)[0]
    consecutive = torch.empty(rows, dtype=torch.long, device=matrix.device)
    for index, block in enumerate(partition_rows(rows, clusters)):
        consecutive[list(block)] = index
    starts = [consecutive]
    if clusters > 1:
        generator = torch.Generator().manual_seed(seed)
        starts += [_nearest_rows(matrix, clusters, generator) for _ in range(STARTS)]
    settled = [_reassign_rows(matrix, start, clusters, dimension) for start in starts]
    best, _ = min(settled, key=lambda found: found[1])
    return K_SUBSPACES + "".join(HEXADECIMAL[index] for index in best.tolist())


def _nearest_rows(matrix: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """Each row with the one of K rows, drawn at random, whose line is nearest in angle."""
    drawn = torch.randperm(len(matrix), generator=generator)[:clusters].to(matrix.device)
    lines = torch.nn.functional.normalize(matrix[drawn], dim=1)
    nearness = (matrix @ lines.mT) ** 2
    assignment = nearness.argmax(dim=1)
    assignment[drawn] = torch.arange(clusters, device=matrix.device)
    return assignment


def _reassign_rows(
    matrix: torch.Tensor, assignment: torch.Tensor, clusters: int, dimension: int
) -> tuple[torch.Tensor, float]:
    """Alternate from ``assignment`` until the residual falls no more; the best assignment and its residual."""
    best, least = assignment, float("inf")
    for _ in range(ROUNDS):
        residuals = _residuals(matrix, assignment, clusters, dimension)
        current = float(residuals.gather(1, assignment[:, None]).sum())
        if current >= least:
            break
        best, least = assignment, current
        assignment = _without_empty_blocks(residuals.argmin(dim=1), residuals, clusters)
    return best, least


def _residuals(matrix: torch.Tensor, assignment: torch.Tensor, clusters: int, dimension: int) -> torch.Tensor:
    """Squared distance of each row from each block's subspace, (m, K)."""
    norms = (matrix**2).sum(dim=1)
    columns = []
    for index in range(clusters):
        members = matrix[assignment == index]
        basis = _leading_directions(members, dimension)
        columns.append((norms - ((matrix @ basis.mT) ** 2).sum(dim=1)).clamp(min=0.0))
    return torch.stack(columns, dim=1)


def _leading_directions(members: torch.Tensor, dimension: int) -> torch.Tensor:
    """The first right singular vectors of a block, as rows; all of them, if it has fewer."""
    if len(members) <= members.shape[1]:
        _, _, directions = torch.linalg.svd(members, full_matrices=False)
        return torch.as_tensor(directions[:dimension])
    # The Gram matrix is small here, and the leading directions are those that it gives accurately.
    _, directions = torch.linalg.eigh(members.mT @ members)
    return torch.as_tensor(directions.flip(1).mT[:dimension])


def _without_empty_blocks(assignment: torch.Tensor, residuals: torch.Tensor, clusters: int) -> torch.Tensor:
    """Give each block that lost all of its rows the row, of a block with several, that fits its own block worst."""
    for index in range(clusters):
        counts = torch.bincount(assignment, minlength=clusters)
        if counts[index] == 0:
            fit = residuals.gather(1, assignment[:, None])[:, 0]
            movable = counts[assignment] > 1
            assignment[torch.where(movable, fit, -1.0).argmax()] = index
    return assignment
