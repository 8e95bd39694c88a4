"""σ-gradients by their definition, and the score of a matrix (arXiv:2510.20800, eq. 1 and 2, and section 3.3).

A search takes σ-gradients of block tails alone, without G: replay/sigma_gradients.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cti_edits.errors import EditError
from cti_edits.linalg.block_tails import TAIL
from cti_edits.linalg.finite import all_finite
from cti_edits.linalg.lowrank import BlockDecomposition, row_blocks


def sigma_gradients(decompositions: Sequence[BlockDecomposition], gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """g_k = diag(U_kᵀ G_k V_k), the derivative of the loss by each singular value of each row block (eq. 1 and 2).

    Args:
        decompositions: of W (m, n), from `lowrank.decompose`, one a row block.
        gradient: G = ∂L/∂W, (m, n), rows = output features.

    Returns:
        One (r_k,) tensor a block in the decompositions' precision, in the order of the singular values.

    Raises:
        EditError: G has another shape than W, or holds values that are not finite.
    """
    expected = (sum(block.U.shape[0] for block in decompositions), decompositions[0].Vh.shape[1])
    if tuple(gradient.shape) != expected:
        raise EditError(f"expected a gradient of shape {expected}, as the weight's, got {tuple(gradient.shape)}")
    if not all_finite(gradient):
        raise EditError("the gradient holds NaN or infinite values")
    parts = row_blocks(gradient, len(decompositions))
    return tuple(
        ((block.U.mT @ part.to(block.U.dtype)) * block.Vh).sum(dim=1)
        for block, part in zip(decompositions, parts, strict=True)
    )


def matrix_score(gradients: Sequence[torch.Tensor], tail: int = TAIL) -> float:
    """Mean over the K blocks of Σ min(g_i, 0) over the last ``tail`` singular values (section 3.3).

    To first order, g_i < 0 means that the loss falls as σ_i grows. The paper takes the sum of the negative ones as a
    measure of how much a matrix's trailing directions matter to the task; matrices are tried from the most negative
    score on.

    Args:
        gradients: one (r_k,) tensor a block, g_k in the order of descending singular values.
        tail: t; of a block with fewer singular values, all count.
    """
    return sum(float(g[-tail:].clamp(max=0.0).sum()) for g in gradients) / len(gradients)
