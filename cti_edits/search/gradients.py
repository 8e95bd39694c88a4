"""One forward and backward pass over the calibration examples: G = ∂L/∂W of every target matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from cti_edits.apply import TargetMatrix
from cti_edits.calibration import GoldRequest
from cti_edits.errors import EditError


def loss_gradients(
    lm: Any,
    targets: Sequence[TargetMatrix],
    requests: Sequence[GoldRequest],
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> list[torch.Tensor]:
    """G = ∂L/∂W of each target, L = mean over the examples of the mean NLL of the gold answer's tokens.

    Args:
        lm: a model of `lm` or `masked_lm`; left as it was found.
        targets: the matrices.
        requests: the gold answers.
        batch_size: examples a pass.
        advance: told how many more examples are done.

    Returns:
        One tensor a target, shaped and oriented as its ``weight``, float32 (float64 for a float64 model), on the CPU.

    Raises:
        EditError: a loss is not finite; the message names the example.
    """
    model = lm.model
    # Rows of like length share a batch, so that little is spent on padding.
    order = sorted(range(len(requests)), key=lambda index: len(requests[index].context))
    parameters = [target.parameter for target in targets]
    former = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    sums: list[torch.Tensor] = []
    try:
        for parameter, _ in former:
            parameter.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                losses = lm.answer_losses([requests[index] for index in batch])
                for index, loss in zip(batch, losses.tolist(), strict=True):
                    if not -float("inf") < loss < float("inf"):
                        raise EditError(
                            f"the loss of the unedited model on row {requests[index].doc_id} is {loss}; "
                            "a wider dtype (--dtype float32) may help"
                        )
                # The mean's 1/n comes after the sum in a wide dtype: before it, small gradients underflow in float16.
                gradients = torch.autograd.grad(losses.sum(), parameters)
                wide = [g.to("cpu", torch.float64 if g.dtype == torch.float64 else torch.float32) for g in gradients]
                sums = [a + b for a, b in zip(sums, wide, strict=True)] if sums else wide
                advance(len(batch))
    finally:
        for parameter, required in former:
            parameter.requires_grad_(required)
    return [target.oriented(total / len(requests)) for target, total in zip(targets, sums, strict=True)]
