"""One forward and backward pass over the calibration examples: G = ∂L/∂W of every target matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from cti_edits.errors import EditError, MachineError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.models.apply import TargetMatrix
from cti_edits.replay.memory import BatchSize, within_memory

NoteLoss = Callable[[int, float], None]
"""Takes the number of a row and its loss, nats."""


def loss_gradients(
    lm: EditedHFLM,
    targets: Sequence[TargetMatrix],
    requests: Sequence[GoldRequest],
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
    note_loss: NoteLoss = lambda _doc_id, _loss: None,
) -> list[torch.Tensor]:
    """G = ∂L/∂W of each target, L = mean over the examples of the mean NLL of the gold answer's tokens.

    Args:
        lm: a model of `lm` or `masked_lm`; left as it was found.
        targets: the matrices.
        requests: the gold answers.
        batch_size: examples a pass to begin with; halved whenever the memory is exhausted.
        advance: told how many more examples are done.
        note_loss: told the loss of each example, by its row.

    Returns:
        One tensor a target, shaped and oriented as its ``weight``, float32 (float64 for a float64 model), on the CPU.

    Raises:
        EditError: a loss is not finite, or a single example does not fit the memory; the message names the example.
    """
    model = lm.model
    # Rows of like length share a batch, so that little is spent on padding.
    order = sorted(range(len(requests)), key=lambda index: len(requests[index].context))
    # Parts of one parameter have one gradient together.
    parameters = list({id(target.parameter): target.parameter for target in targets}.values())
    place = {id(parameter): number for number, parameter in enumerate(parameters)}
    former = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    sums: list[torch.Tensor] = []
    # Requests take the place of packed rows here.
    size = BatchSize(batch_size, row_tokens=1)

    def next_gradients() -> list[torch.Tensor]:
        return _batch_gradients(lm, parameters, [requests[index] for index in order[: size.rows]], note_loss)

    def take_less() -> None:
        if not size.halve(several=False, recomputable=False):
            raise MachineError(
                f"the memory of {lm.device} does not hold the gradients of row {requests[order[0]].doc_id} beside "
                "the model; a narrower dtype, another device or a task with shorter examples may fit"
            )

    try:
        for parameter, _ in former:
            parameter.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            while order:
                found = within_memory(next_gradients, take_less)
                sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
                advance(len(order[: size.rows]))
                order = order[size.rows :]
    finally:
        for parameter, required in former:
            parameter.requires_grad_(required)
    return [target.oriented(sums[place[id(target.parameter)]]) / len(requests) for target in targets]


def _batch_gradients(
    lm: EditedHFLM, parameters: Sequence[torch.Tensor], batch: Sequence[GoldRequest], note_loss: NoteLoss
) -> list[torch.Tensor]:
    """Of the sum of a batch's losses, on the CPU."""
    losses = lm.answer_losses(batch)
    for request, loss in zip(batch, losses.tolist(), strict=True):
        if not -float("inf") < loss < float("inf"):
            raise EditError(
                f"the loss of the unedited model on row {request.doc_id} is {loss}; "
                "a wider dtype (dtype=float32) may help"
            )
        note_loss(request.doc_id, loss)
    # The mean's 1/n comes after the sum in a wide dtype: before it, small gradients underflow in float16.
    gradients = torch.autograd.grad(losses.sum(), parameters, allow_unused=True, materialize_grads=True)
    return [g.to("cpu", torch.float64 if g.dtype == torch.float64 else torch.float32) for g in gradients]
