"""Which directions a search changes, the N largest |g|, and one gradient step on their singular values.

σ_i' = σ_i − η g_i, with η such that the first-order drop of the loss, η Σ g_i², is f times the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.errors import EditError
from cti_edits.linalg.directions import Directions, separable
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import BlockGradients, DirectionGradients

LEAST_SIGMA = 1e-6
"""Singular values below this share of their block's largest are left alone: their vectors are noise."""

MAX_SCALE = 1e6
"""The most that a manifest lets a factor be."""

SCALE_DIGITS = 7
SIGMA_DIGITS = 8
"""Significant digits of what a manifest says of a direction."""


@dataclass(frozen=True, order=True)
class Direction:
    """A singular direction of a model: (matrix, row block, index)."""

    target: MatrixId
    block: int
    index: int


def chosen_directions(gradients: DirectionGradients, count: int) -> list[Direction]:
    """The ``count`` directions with the largest |g|, ascending; all that there are, if fewer. Ties go to the first.

    Left out are those whose singular value is not told apart from a neighbour, and those near zero.

    Args:
        gradients: of every matrix.
        count: N.

    Raises:
        EditError: there is none.
    """
    places: list[tuple[MatrixId, int]] = []
    sizes: list[torch.Tensor] = []
    for target, blocks in sorted(gradients.blocks.items()):
        for number, block in enumerate(blocks):
            places.append((target, number))
            sizes.append(torch.where(usable(block), block.gradients.abs(), -1.0))
    every = torch.cat(sizes)
    order = torch.argsort(every, descending=True, stable=True)[:count]
    starts = [0]
    for one in sizes:
        starts.append(starts[-1] + len(one))
    found = []
    for flat in order[every[order] > 0].tolist():
        at = next(place for place in range(len(places)) if flat < starts[place + 1])
        found.append(Direction(*places[at], flat - starts[at]))
    if not found:
        raise EditError(
            "no singular value of these matrices can be changed by itself: each is too close to a neighbour, near 0, "
            "or of no use to the loss; others may have some (matrices)"
        )
    return sorted(found)


def usable(block: BlockGradients) -> torch.Tensor:
    """(r_k,) booleans: which directions of a block can be edited one by one."""
    values = block.spectrum.values.cpu()
    return separable(values, block.spectrum.shape) & (values > LEAST_SIGMA * values[0])


def step_scales(gradients: DirectionGradients, directions: Sequence[Direction], drop: float) -> dict[Direction, float]:
    """The factor s_i = σ_i' / σ_i of each direction after one step.

    Args:
        gradients: of every matrix.
        directions: those that step.
        drop: f.
    """
    values = {one: _value(gradients, one) for one in directions}
    rate = drop * gradients.loss / math.fsum(g**2 for _, g in values.values())
    return {one: rounded(1 - rate * g / sigma, SCALE_DIGITS) for one, (sigma, g) in values.items()}


def _value(gradients: DirectionGradients, one: Direction) -> tuple[float, float]:
    block = gradients.blocks[one.target][one.block]
    return float(block.spectrum.values[one.index]), float(block.gradients[one.index])


def by_matrix(
    gradients: DirectionGradients, scales: Mapping[Direction, float]
) -> dict[MatrixId, tuple[Directions | None, ...]]:
    """For each matrix that changes and each of its row blocks, its directions; None for a block that stays."""
    found: dict[MatrixId, tuple[Directions | None, ...]] = {}
    for target in sorted({one.target for one in scales}):
        blocks = gradients.blocks[target]
        found[target] = tuple(
            _of_block(block, {one.index: s for one, s in scales.items() if (one.target, one.block) == (target, number)})
            for number, block in enumerate(blocks)
        )
    return found


def _of_block(block: BlockGradients, scales: Mapping[int, float]) -> Directions | None:
    if not scales:
        return None
    index = sorted(scales)
    sigma = [rounded(float(block.spectrum.values[one]), SIGMA_DIGITS) for one in index]
    return Directions(index, [scales[one] for one in index], sigma)


def rounded(value: float, digits: int) -> float:
    """``value`` to so many significant digits."""
    return float(f"{value:.{digits}g}")


def random_directions(gradients: DirectionGradients, count: int, seed: int) -> list[Direction]:
    """``count`` of the directions that can be edited, drawn at random: the control of `chosen_directions`."""
    every = [
        Direction(target, number, index)
        for target, blocks in sorted(gradients.blocks.items())
        for number, block in enumerate(blocks)
        for index in usable(block).nonzero().flatten().tolist()
    ]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(every), generator=generator)[:count].tolist()
    return sorted(every[place] for place in order)


def matrices_of(directions: Iterable[Direction]) -> set[MatrixId]:
    """The matrices that directions are of."""
    return {one.target for one in directions}
