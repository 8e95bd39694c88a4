"""Whether two passes of one model give the same logits, but for rounding."""

from __future__ import annotations

import torch

from cti_edits.harness.edited_model import EditedHFLM

CLOSE = 1e-3
"""In one batch and another, log-probabilities of a text differ by rounding: at most so much, or it is not rounding."""

CLOSE_IN_HALF = 0.25
"""In half precision: in the mean. Some of many logits about 20 are further off, and of other texts most are."""


def beyond_rounding(lm: EditedHFLM, found: torch.Tensor, expected: torch.Tensor) -> float | None:
    """By how much log-probabilities differ, where that is more than rounding; None where it is not.

    Args:
        lm: the model, which says in which precision it runs.
        found: logits (places, vocabulary).
        expected: those of another pass.
    """
    log_probabilities = torch.log_softmax(expected.float(), dim=-1)
    differences = (torch.log_softmax(found.float(), dim=-1) - log_probabilities).abs()
    # A token may have no probability at all. What is not finite else is said by who evaluates it.
    differences = differences[torch.isfinite(differences)]
    if not len(differences):
        return None
    half = {lm.model.dtype, lm.mixed_precision_dtype} & {torch.float16, torch.bfloat16}
    off = float(differences.mean() if half else differences.max())
    return None if off <= (CLOSE_IN_HALF if half else CLOSE) else off
