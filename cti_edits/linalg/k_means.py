"""K-means on the directions of rows: each row, divided by its length, goes to the nearest of K centres."""

from __future__ import annotations

import torch

from cti_edits.artifact.ranks import HEXADECIMAL, K_SUBSPACES, MAX_SUBSPACES
from cti_edits.errors import EditError
from cti_edits.linalg.finite import all_finite

ROUNDS = 100
"""The most rounds of Lloyd's algorithm; it ends earlier where the squared distances fall no more."""

STARTS = 4
"""Starts: each ends in a local minimum, and they differ."""


def k_means(weight: torch.Tensor, clusters: int, seed: int = 0) -> str:
    """A partition of the rows of ``weight`` into K blocks of like directions, as a manifest writes it.

    Lloyd's algorithm in float64 on the rows, each divided by its length, from `STARTS` starts whose centres are drawn
    as k-means++ draws them; the one with the least sum of squared distances is taken. A row of zeros stays one. A block
    that has lost all of its rows is given the row, of a block with several, that is farthest from its own centre.

    Args:
        weight: (m, n), any floating dtype, finite.
        clusters: K, 1 ≤ K ≤ m and at most 16.
        seed: of the starts.

    Returns:
        "k-subspaces:" and a hexadecimal digit for each row; see `ranks.partition_rows`.

    Raises:
        EditError: K is out of range, or a value is not finite.
    """
    rows = weight.shape[0]
    if not 1 <= clusters <= min(rows, MAX_SUBSPACES):
        raise EditError(f"expected clusters from 1 to {min(rows, MAX_SUBSPACES)}, got {clusters}")
    if not all_finite(weight):
        raise EditError("the weight holds NaN or infinite values, so its rows cannot be assigned")
    units = torch.nn.functional.normalize(weight.detach().double(), dim=1)
    generator = torch.Generator().manual_seed(seed)
    settled = [_settled(units, _drawn_centres(units, clusters, generator)) for _ in range(STARTS)]
    best, _ = min(settled, key=lambda found: found[1])
    return K_SUBSPACES + "".join(HEXADECIMAL[index] for index in best.tolist())


def _drawn_centres(units: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """K rows: the first at random, each further one with a chance as its squared distance from those before."""
    chosen = [int(torch.randint(len(units), (1,), generator=generator))]
    while len(chosen) < clusters:
        nearest = _squared_distances(units, units[chosen]).min(dim=1).values.cpu()
        # Rows that lie on one drawn already have no chance, rounding aside, and where all do, any row will do.
        chances = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
    return units[chosen]


def _settled(units: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Alternate from ``centres``; the last assignment, and its sum of squared distances from its blocks' means."""
    clusters = len(centres)
    assignment, least = torch.zeros(len(units), dtype=torch.long, device=units.device), float("inf")
    for _ in range(ROUNDS):
        distances = _squared_distances(units, centres)
        proposed = _without_empty_blocks(distances.argmin(dim=1), distances, clusters)
        centres = torch.stack([units[proposed == index].mean(dim=0) for index in range(clusters)])
        current = float(((units - centres[proposed]) ** 2).sum())
        if current >= least:
            break
        assignment, least = proposed, current
    return assignment, least


def _squared_distances(units: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Of each row from each centre, (m, K)."""
    return torch.stack([((units - centre) ** 2).sum(dim=1) for centre in centres], dim=1)


def _without_empty_blocks(assignment: torch.Tensor, distances: torch.Tensor, clusters: int) -> torch.Tensor:
    for index in range(clusters):
        counts = torch.bincount(assignment, minlength=clusters)
        if counts[index] == 0:
            own = distances.gather(1, assignment[:, None])[:, 0]
            assignment[torch.where(counts[assignment] > 1, own, -1.0).argmax()] = index
    return assignment
