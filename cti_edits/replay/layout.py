"""How questions lie in batches, the hidden states that each batch has reached, and how much goes in at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from cti_edits.errors import MachineError
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.questions import GeneratedText, Question
from cti_edits.replay.batches import ReadBatch, read_batches
from cti_edits.replay.block_replay import BlockReplay
from cti_edits.replay.continuation_check import check_continuation
from cti_edits.replay.memory import BatchSize, default_rows, within_memory
from cti_edits.replay.packing_check import check_packing

KEPT_BYTES = 1 << 30
"""Keys and values of unedited blocks are kept for texts to be continued from, up to so much; past it, computed anew."""


class Layout:
    """The batches of a set of questions.

    Attributes:
        batches: what goes through the model together.
        entering: of each batch, the hidden states that enter block ``block``; None for block 0.
        kept: of each batch, the keys and values of the blocks before that; None where nothing is written, or where they
            are too many to keep.
        kept_bytes: how many bytes of keys and values may wait for texts to be continued.
        block: how far the batches have come.
    """

    batches: list[ReadBatch]
    entering: list[torch.Tensor | None]
    kept: list[Any] | None
    kept_bytes: int
    block: int

    def __init__(
        self, lm: EditedHFLM, replay: BlockReplay, questions: Sequence[Question], rows: int | None = None
    ) -> None:
        """Lay out ``questions``.

        Args:
            lm: a model of `harness.lm` or `harness.masked_lm`.
            replay: the same model, whose blocks can be run in parts.
            questions: what is asked.
            rows: packed rows in one pass; `default_rows` of the model's device if None. Halved until they fit.

        Raises:
            UnsupportedError: the model does not heed the masks of packed rows, or cannot go on with a text.
            EditError: a single example does not fit the memory.
        """
        self._lm = lm
        self._replay = replay
        self._size = BatchSize(default_rows(lm.device) if rows is None else rows)
        self.kept_bytes = KEPT_BYTES
        self.set_questions(questions)
        within_memory(lambda: check_packing(lm, replay, self.questions, self.batches), self.halve)
        within_memory(lambda: check_continuation(lm, replay, self.questions), self.halve)

    @property
    def batch_tokens(self) -> int:
        """Tokens in one pass, at most. The last bits of a log-likelihood depend on it."""
        return self._size.tokens

    def set_questions(self, questions: Sequence[Question], apart: Sequence[bool] | None = None) -> None:
        """Lay out these questions; see `batches.read_batches` for ``apart``."""
        self.questions = questions
        self._apart = apart
        self._writes = any(isinstance(sequence, GeneratedText) for q in questions for sequence in q.asked)
        self.pack_anew()

    def pack_anew(self) -> None:
        """Lay the questions out anew, at block 0."""
        causal = self._lm.kind == "causal"
        self.batches = read_batches(self.questions, causal, self._size, self._apart)
        self.block = 0
        self.entering = [None] * len(self.batches)
        self.kept = [self._replay.empty_cache() for _ in self.batches] if self._writes and self.kept_bytes else None

    def continued_together(self, index: int, size: int) -> range:
        """The batches whose texts are continued together with those of batch ``index``.

        Neighbours, so many as are within ``kept_bytes`` together, or one; whichever of them is asked for.

        Args:
            index: one of them.
            size: bytes of its keys and values, which every token has as many of.
        """
        room = self.kept_bytes * self.batches[index].packed.tokens.numel()
        begin, taken = 0, 0
        for end, batch in enumerate(self.batches):
            needed = size * batch.packed.tokens.numel()
            if end > begin and taken + needed > room:
                if index < end:
                    return range(begin, end)
                begin, taken = end, 0
            taken += needed
        return range(begin, len(self.batches))

    def advance_to(self, block: int) -> None:
        """Have the hidden states that enter ``block``. No block before it may be edited."""
        if block < self.block:
            self.pack_anew()
        if block == self.block:
            return
        try:
            self.entering, self.block = self._advanced(block), block
        except BaseException:
            # Some of what is kept has come to the block, and some has not.
            self.pack_anew()
            raise

    def _advanced(self, block: int) -> list[torch.Tensor | None]:
        carried: list[torch.Tensor | None] = []
        for index, (batch, entering) in enumerate(zip(self.batches, self.entering, strict=True)):
            kept = self.kept[index] if self.kept is not None else None
            carried.append(self._replay.hidden(batch.packed, self.block, entering, block, kept))
            if self.kept is not None and cache_bytes(self.kept) > self.kept_bytes:
                self.kept = None
        return carried

    def halve(self) -> None:
        """Make batches smaller, fewer rows first and then shorter ones; at last keep nothing; and start anew.

        Raises:
            EditError: each batch is a single example, and nothing was kept.
        """
        if not self._size.halve(any(len(batch.examples) > 1 for batch in self.batches), recomputable=self._writes):
            longest = max(batch.packed.tokens.shape[1] for batch in self.batches)
            raise MachineError(
                f"the memory of {self._lm.device} does not hold one example of {longest} tokens beside the model; "
                "a narrower dtype, another device or a task with shorter examples may fit"
            )
        if self._size.frugal:
            self.kept_bytes = 0
        self.pack_anew()

    @property
    def size(self) -> BatchSize:
        """How much a batch holds."""
        return dataclasses.replace(self._size)

    def resize(self, size: BatchSize) -> None:
        """Make batches of another size, and start anew."""
        self._size = dataclasses.replace(size)
        self.pack_anew()

    def one_example_a_batch(self) -> bool:
        """Give each example a batch of its own, and start anew; False if that is so already."""
        if not self._size.one_example_a_batch():
            return False
        self.pack_anew()
        return True


def cache_bytes(caches: Sequence[Any]) -> int:
    """Bytes of the keys and values in transformers caches; blocks that did not run have none."""
    return sum(
        layer.keys.nbytes + layer.values.nbytes for cache in caches for layer in cache.layers if layer.keys is not None
    )
