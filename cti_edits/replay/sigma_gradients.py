"""σ-gradients of every target matrix from one forward and backward pass, without ∂L/∂W.

With x_t the input of a linear layer at token t and δ_t the gradient at its output, G = Σ_t δ_t x_tᵀ, so that

    g_i = u_iᵀ G v_i = Σ_t (u_iᵀ δ_t)(v_iᵀ x_t).

Neither G nor any weight's gradient is formed, and no weight requires one, unless the model cannot be given packed rows,
or the matrix is an expert's: those have one parameter together, whose gradient is formed, projected and dropped.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from cti_edits.errors import EditError
from cti_edits.harness.calibration import GoldRequest
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.evaluation import NotFiniteError
from cti_edits.harness.questions import Question, UnsupportedError
from cti_edits.linalg.fused_rows import columns_of
from cti_edits.models.targets import TargetMatrix
from cti_edits.replay.backward import (
    gradients_stop_at,
    observe_gradients,
    observe_weight_gradients,
    without_weight_gradients,
)
from cti_edits.replay.batches import ReadBatch, read_batches
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.gradients import NoteLoss, loss_gradients
from cti_edits.replay.memory import BatchSize, within_memory
from cti_edits.replay.packing_check import check_packing
from cti_edits.replay.replaced_forward import replaced_forward


class SingularVectors(NamedTuple):
    """Singular directions of one row block.

    Attributes:
        U: (m_k, directions).
        V: (n, directions).
    """

    U: torch.Tensor
    V: torch.Tensor


EXAMPLES = 16
"""How many examples are in one pass to begin with, where the model cannot be run block by block."""

Gradients = list[list[tuple[torch.Tensor, ...]]]
"""For each target, for each way to cut it, for each block: a (directions,) float64 tensor on the CPU."""


def loss_sigma_gradients(
    lm: EditedHFLM,
    targets: Sequence[TargetMatrix],
    directions: Sequence[Sequence[Sequence[SingularVectors]]],
    requests: Sequence[GoldRequest],
    advance: Callable[[int], None] = lambda _: None,
    rows: int = 1,
    replay: BlockReplay | None = None,
    packing_checked: bool = False,
    note_loss: NoteLoss = lambda _doc_id, _loss: None,
) -> Gradients:
    """g_i of directions of each target, L = mean over the examples of the mean NLL of the gold answer's tokens.

    Args:
        lm: a model of `lm` or `masked_lm`; left as it was found.
        targets: the matrices.
        directions: for each target and each way to cut it into row blocks, the directions of every block.
        requests: the gold answers.
        advance: told how many more examples are done.
        rows: packed rows in one pass to begin with. They are halved whenever the memory is exhausted; where a single
            example is too much, activations are computed twice rather than kept.
        replay: of the same model, if there is one already.
        packing_checked: whether it is known that the model can be given such rows packed.
        note_loss: told the loss of each example, by its row.

    Raises:
        EditError: a loss or a gradient is not finite, or a single example does not fit the memory; the message names
            the matrix and the example.
    """
    try:
        replay = replay or BlockReplay(lm)
    except UnsupportedError:
        found = loss_gradients(lm, targets, requests, EXAMPLES, advance, note_loss)
        return _of_whole_gradients(found, targets, directions)
    precision = torch.float64 if targets[0].parameter.dtype == torch.float64 else torch.float32
    projections = [_Projection(ways, precision, lm.device) for ways in directions]
    totals = [torch.zeros(projection.width, dtype=torch.float64) for projection in projections]
    remaining = [Question(request.doc_id, (lm.gold_tokens(request),), None, 0) for request in requests]
    size = BatchSize(rows)
    causal = lm.kind == "causal"
    several, doc_id = True, remaining[0].doc_id

    def take_less() -> None:
        if not size.halve(several, recomputable=True):
            raise EditError(
                f"the memory of {lm.device} does not hold the gradients of row {doc_id} beside the model; "
                "a narrower dtype, another device or a task with shorter examples may fit"
            )

    def packs() -> bool:
        nonlocal several, doc_id
        batches = read_batches(remaining, causal, size)
        largest = max(batches, key=lambda batch: len(batch.examples))
        several, doc_id = len(largest.examples) > 1, remaining[largest.examples[0]].doc_id
        try:
            check_packing(lm, replay, remaining, batches)
        except UnsupportedError:
            return False
        return True

    def run_batches() -> None:
        nonlocal remaining, several, doc_id
        done: set[int] = set()
        try:
            for batch in read_batches(remaining, causal, size):
                several, doc_id = len(batch.examples) > 1, remaining[batch.examples[0]].doc_id
                found = _batch_gradients(lm, replay, targets, projections, batch, remaining, size.frugal, note_loss)
                for total, contribution in zip(totals, found, strict=True):
                    total += contribution
                done.update(batch.examples)
                advance(len(batch.examples))
        finally:
            remaining = [question for example, question in enumerate(remaining) if example not in done]

    if not packing_checked and not within_memory(packs, take_less):
        return _of_whole_gradients(loss_gradients(lm, targets, requests, rows, advance, note_loss), targets, directions)
    while remaining:
        try:
            within_memory(run_batches, take_less)
        except NotFiniteError:
            # Of the examples of a row, it may be another one's.
            if not size.one_example_a_batch():
                raise
    return [projection.split(total / len(requests)) for projection, total in zip(projections, totals, strict=True)]


def _of_whole_gradients(
    gradients: Sequence[torch.Tensor],
    targets: Sequence[TargetMatrix],
    directions: Sequence[Sequence[Sequence[SingularVectors]]],
) -> Gradients:
    """diag(U_kᵀ G_k V_k), from G itself: for models that cannot be given packed rows."""
    found: Gradients = []
    for gradient, target, ways in zip(gradients, targets, directions, strict=True):
        if not bool(torch.isfinite(gradient).all()):
            raise NotFiniteError(
                f"{target.module}: the gradient of the loss is not finite; a wider dtype (dtype=float32) may help"
            )
        found.append([])
        for blocks in ways:
            parts = torch.split(gradient.double(), [block.U.shape[0] for block in blocks])
            pairs = zip(parts, ((block.U.cpu().double(), block.V.cpu().double()) for block in blocks), strict=True)
            found[-1].append(tuple(((U.mT @ part) * V.mT).sum(dim=1) for part, (U, V) in pairs))
    return found


class _Projection:
    """The directions of one matrix, for each way to cut it, with the products with x of all of them in one."""

    def __init__(self, ways: Sequence[Sequence[SingularVectors]], dtype: torch.dtype, device: Any) -> None:
        self._widths = [[block.U.shape[1] for block in blocks] for blocks in ways]
        self.width = sum(map(sum, self._widths))
        self._blocks = [[block.U.to(device, dtype) for block in blocks] for blocks in ways]
        self._V = torch.cat([block.V.mT.to(device, dtype) for blocks in ways for block in blocks])

    def contribution(self, x: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Σ_t (u_iᵀ δ_t)(v_iᵀ x_t) of every direction: x (tokens, n), δ (tokens, m); float64, on the CPU."""
        x, delta = x.to(self._V.dtype), delta.to(self._V.dtype)
        inputs = iter(torch.split(x @ self._V.mT, [width for widths in self._widths for width in widths], dim=1))
        sums = []
        for blocks in self._blocks:
            rows = torch.split(delta, [len(U) for U in blocks], dim=1)
            sums += [((part @ U) * next(inputs)).sum(dim=0) for part, U in zip(rows, blocks, strict=True)]
        return torch.cat(sums).double().cpu()

    def of_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """u_iᵀ G v_i of every direction, of G (m, n) itself; float64, on the CPU."""
        gradient = gradient.to(self._V.device, self._V.dtype)
        rights = iter(torch.split(self._V, [width for widths in self._widths for width in widths]))
        sums = []
        for blocks in self._blocks:
            rows = torch.split(gradient, [len(U) for U in blocks])
            sums += [((U.mT @ part) * next(rights)).sum(dim=1) for part, U in zip(rows, blocks, strict=True)]
        return torch.cat(sums).double().cpu()

    def split(self, total: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """A number for each direction, block by block, for each way."""
        ways = torch.split(total, [sum(widths) for widths in self._widths])
        return [torch.split(way, widths) for way, widths in zip(ways, self._widths, strict=True)]


def _batch_gradients(
    lm: EditedHFLM,
    replay: BlockReplay,
    targets: Sequence[TargetMatrix],
    projections: Sequence[_Projection],
    batch: ReadBatch,
    questions: Sequence[Question],
    checkpointed: bool,
    note_loss: NoteLoss,
) -> list[torch.Tensor]:
    """Σ_t (u_iᵀ δ_t)(v_iᵀ x_t) over one batch, of every direction of every target, for the sum of the losses."""
    found = [torch.zeros(projection.width, dtype=torch.float64) for projection in projections]
    layers = [index for index, target in enumerate(targets) if target.is_weight]
    of_parameter: dict[torch.nn.Parameter, list[int]] = {}
    for index, target in enumerate(targets):
        if not target.is_weight:
            of_parameter.setdefault(target.parameter, []).append(index)

    def take_whole(number: int, gradient: torch.Tensor) -> None:
        for index in list(of_parameter.values())[number]:
            found[index] += projections[index].of_gradient(targets[index].oriented(gradient))
            if not bool(torch.isfinite(found[index]).all()):
                rows = " or ".join(str(questions[example].doc_id) for example in batch.examples)
                raise NotFiniteError(
                    f"{targets[index].name}: the gradient of the loss is not finite on row {rows}; "
                    "a wider dtype (dtype=float32) may help"
                )

    def take(number: int, x: torch.Tensor, delta: torch.Tensor) -> None:
        index = layers[number]
        x, delta = x.flatten(0, -2), columns_of(delta.flatten(0, -2), targets[index].rows)
        # A layer that several blocks share has a part in each.
        found[index] += projections[index].contribution(x, delta)
        if not bool(torch.isfinite(found[index]).all()):
            wrong = ~(torch.isfinite(x).all(dim=1) & torch.isfinite(delta).all(dim=1))
            if not bool(wrong.any()):
                # Only what they are multiplied to is too large.
                wrong = delta.abs().amax(dim=1) > 0
            rows = _doc_ids(batch, questions, int(wrong.nonzero()[0]))
            raise NotFiniteError(
                f"{targets[index].module}: the gradient of the loss is not finite on row {rows}; "
                "a wider dtype (dtype=float32) may help"
            )

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(without_weight_gradients(lm.model))
        stack.enter_context(gradients_stop_at(replay.blocks[min(target.layer for target in targets)]))
        if checkpointed:
            for block in replay.blocks:
                again = functools.partial(checkpoint, block.forward, use_reentrant=False)
                stack.enter_context(replaced_forward(block, again))
        modules = [lm.model.get_submodule(targets[index].module) for index in layers]
        stack.enter_context(observe_gradients(modules, take))
        stack.enter_context(observe_weight_gradients(list(of_parameter), take_whole))
        logits = replay.logits(batch.packed, 0, None, batch.rows, batch.columns)
        # The mean's 1/n comes at the end, in float64: here, small gradients would underflow in float16.
        _loss_sum(logits, batch, questions, note_loss).backward()  # type: ignore[no-untyped-call]
    return found


def _loss_sum(
    logits: torch.Tensor, batch: ReadBatch, questions: Sequence[Question], note_loss: NoteLoss
) -> torch.Tensor:
    """Sum over the examples of the mean NLL of the gold answer's tokens; in half precision it would lose digits."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    places, tokens = batch.scored_places.to(wide.device), batch.scored_tokens.to(wide.device)
    answers = [questions[example].sequences[number] for example, number in batch.scored]
    losses = [
        part.mean()
        for part in torch.split(
            torch.nn.functional.cross_entropy(wide[places], tokens, reduction="none"), [len(a.places) for a in answers]
        )
    ]
    stacked = torch.stack(losses)
    for (example, _), loss in zip(batch.scored, stacked.tolist(), strict=True):
        if not -float("inf") < loss < float("inf"):
            raise NotFiniteError(
                f"the loss of the unedited model on row {questions[example].doc_id} is {loss}; "
                "a wider dtype (dtype=float32) may help"
            )
        note_loss(questions[example].doc_id, loss)
    return stacked.sum()


def _doc_ids(batch: ReadBatch, questions: Sequence[Question], token: int) -> str:
    """The rows that have this token, counted over all places of the batch."""
    row, column = divmod(token, batch.packed.tokens.shape[1])
    having = {example for (example, _), (where, path) in batch.paths.items() if where == row and column in path}
    return " or ".join(str(questions[example].doc_id) for example in sorted(having))
