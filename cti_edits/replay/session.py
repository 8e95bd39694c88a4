"""One engine for one loaded model: what gradients, evaluations and the test part of a search share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import Literal

import torch

from cti_edits.harness.calibration import CalibrationSet, GoldRequest
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.questions import UnsupportedError
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.models.apply import TargetMatrix
from cti_edits.progress import Progress, Silent
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.encoder_decoder_evaluator import EncoderDecoderEvaluator, encoder_depth
from cti_edits.replay.evaluator import Evaluator
from cti_edits.replay.gradients import NoteLoss
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from cti_edits.replay.sigma_gradients import Gradients, SingularVectors, heeds_packed_rows, loss_sigma_gradients

EvaluatorName = Literal["replay", "reference"]


class Session:
    """A loaded model that is asked about many edits, and has its own weights again when the session closes.

    >>> with Session(lm) as session:                                                    # doctest: +SKIP
    ...     evaluator = session.evaluator(calibration)
    ...     unedited = evaluator.evaluate()
    ...     with session.replaced_weight(target, candidate):
    ...         edited = evaluator.evaluate(target.layer)

    Attributes:
        lm: the model, unedited.
    """

    def __init__(
        self,
        lm: EditedHFLM,
        evaluator: EvaluatorName = "replay",
        rows: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Open a session of unedited ``lm``.

        Args:
            lm: a model of `harness.lm` or `harness.masked_lm`.
            evaluator: "replay", or "reference" to ask lm-eval about every edit.
            rows: packed rows in one pass of the fast evaluator; by the kind of device if None.
            progress: is given one note if the reference evaluator takes over.
        """
        self.lm = lm
        self._evaluator = evaluator
        self._rows = rows
        self._progress = progress or Silent()
        self._replaced: list[contextlib.ExitStack] = []
        self._slow = False

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put back the bits of every weight that is replaced, the last one first."""
        for stack in reversed(self._replaced):
            stack.close()

    @cached_property
    def replay(self) -> BlockReplay | None:
        """The model as blocks that can be run in parts; None if its blocks cannot be."""
        try:
            return BlockReplay(self.lm)
        except UnsupportedError:
            return None

    def evaluator(self, calibration: CalibrationSet) -> Evaluator:
        """What evaluates the model on these examples; the reference one where the task or the model needs it.

        Raises:
            EditError: an answer has no tokens, or does not fit the model.
        """
        if self._evaluator == "replay":
            try:
                if self.lm.kind == "seq2seq":
                    return EncoderDecoderEvaluator(self.lm, calibration, self._rows)
                return ReplayEvaluator(self.lm, calibration, self._rows, self.replay)
            except UnsupportedError as error:
                if not self._slow:  # said once: the test rows and the calibration rows meet the same hindrance
                    self._progress.note(f"the reference evaluator takes over, which is slower: {error}")
                self._slow = True
        return ReferenceEvaluator(self.lm, calibration)

    def heeds_packed_rows(self, requests: Sequence[GoldRequest]) -> bool:
        """See `sigma_gradients.heeds_packed_rows`."""
        return heeds_packed_rows(self.lm, requests, self.replay)

    def sigma_gradients(
        self,
        targets: Sequence[TargetMatrix],
        vectors: Sequence[Sequence[Sequence[SingularVectors]]],
        requests: Sequence[GoldRequest],
        advance: Callable[[int], None] = lambda _: None,
        packing_checked: bool = False,
        note_loss: NoteLoss = lambda _doc_id, _loss: None,
    ) -> Gradients:
        """See `sigma_gradients.loss_sigma_gradients`."""
        return loss_sigma_gradients(
            self.lm,
            targets,
            vectors,
            requests,
            advance,
            replay=self.replay,
            packing_checked=packing_checked,
            note_loss=note_loss,
        )

    @cached_property
    def _encoder_depth(self) -> int:
        return encoder_depth(self.lm.model)

    def first_block(self, targets: Iterable[TargetMatrix]) -> int:
        """The first block with one of these matrices, counted as blocks run: those of an encoder come first."""
        return min(target.layer + (self._encoder_depth if target.stack == "decoder" else 0) for target in targets)

    @contextlib.contextmanager
    def replaced_weight(self, target: TargetMatrix, edited: torch.Tensor) -> Iterator[None]:
        """See `replaced_weight`; closing the session puts the former bits back, too."""
        with contextlib.ExitStack() as stack:
            self._replaced.append(stack)
            try:
                stack.enter_context(replaced_weight(target, edited))
                yield
            finally:
                self._replaced.remove(stack)


@contextlib.contextmanager
def replaced_weight(target: TargetMatrix, edited: torch.Tensor) -> Iterator[None]:
    """The edited weight inside, the former bits after it.

    Args:
        target: the matrix.
        edited: (m, n), in the weight's own dtype.
    """
    former = target.weight.clone()
    try:
        target.put(edited)
        yield
    finally:
        target.put(former)
