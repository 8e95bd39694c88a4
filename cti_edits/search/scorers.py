"""Ways to score a matrix: from its singular values and their gradients to one number, the lowest first. No torch here.

`Scorer` is what a plugin's hook ``scorers`` gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cti_edits.plugins import find_part
from cti_edits.search.candidates import MatrixId

if TYPE_CHECKING:
    import torch

PAPER = "paper"


@dataclass(frozen=True)
class BlockDirections:
    """The directions of one row block that were looked at: its last 20 singular triplets, all if it has fewer.

    Attributes:
        S: (directions,), their singular values σ_i, descending, float64, on the CPU.
        g: (directions,), the gradient of the loss by each, in the same order, float64, on the CPU.
    """

    S: torch.Tensor
    g: torch.Tensor


@dataclass(frozen=True)
class MatrixDirections:
    """What a scorer is given of a matrix.

    Attributes:
        target: which matrix it is: its ``layer`` and its role, ``matrix``.
        shape: (m, n), rows = output features.
        blocks: one for each of the K row blocks that the matrix is cut into.
        seed: of the search, for scorers that draw.
    """

    target: MatrixId
    shape: tuple[int, int]
    blocks: tuple[BlockDirections, ...]
    seed: int


@dataclass(frozen=True)
class Scorer:
    """A way to score a matrix.

    Attributes:
        name: what it is asked for by.
        summary: what it is, in a line.
        score: the score of a matrix; the matrices with the lowest are tried.
    """

    name: str
    summary: str
    score: Callable[[MatrixDirections], float]


def find_scorer(name: str) -> Scorer:
    """The scorer ``name``, built in or a plugin's.

    Raises:
        EditError: there is none, or there are two.
    """
    return find_part("scorers", Scorer, name)


def _paper(matrix: MatrixDirections) -> float:
    from cti_edits.linalg.spectrum import matrix_score

    return matrix_score([block.g for block in matrix.blocks])


def _negated_paper(matrix: MatrixDirections) -> float:
    return -_paper(matrix)


def _sum_abs(matrix: MatrixDirections) -> float:
    return -_mean(matrix, lambda block: block.g.abs())


def _predicted_change(matrix: MatrixDirections) -> float:
    """To first order, σ_i → 0 changes the loss by -σ_i g_i."""
    return -sum(float((block.S * block.g).sum()) for block in matrix.blocks)


def _sigma(matrix: MatrixDirections) -> float:
    return _mean(matrix, lambda block: block.S)


def _random(matrix: MatrixDirections) -> float:
    """Uniform in [0, 1), the same for the same seed, matrix and K, in whatever order matrices are scored."""
    target = matrix.target
    words = (matrix.seed, target.layer, target.matrix, len(matrix.blocks), target.stack, target.expert)
    text = " ".join(str(word) for word in words if word is not None)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _mean(matrix: MatrixDirections, values: Callable[[BlockDirections], torch.Tensor]) -> float:
    """Mean over the blocks of the sum over their directions, as the paper's score has it."""
    return sum(float(values(block).sum()) for block in matrix.blocks) / len(matrix.blocks)


SCORERS = (
    Scorer(PAPER, "the mean over the blocks of Σ min(g, 0)", _paper),
    Scorer("negated-paper", "the paper's with the opposite sign", _negated_paper),
    Scorer("sum-abs", "minus the mean over the blocks of Σ |g|: the largest gradients first", _sum_abs),
    Scorer("predicted-change", "-Σ σ g: the change of the loss to first order, if these are cut", _predicted_change),
    Scorer("sigma", "the mean over the blocks of Σ σ: the smallest singular values first, no gradients", _sigma),
    Scorer("random", "drawn at random, by the seed", _random),
)
"""Those that come with cti-edits."""
