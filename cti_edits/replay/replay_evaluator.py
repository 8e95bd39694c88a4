"""The fast evaluator: replays a model from the edited block on, on packed rows, and reads answers alone.

Gives what `reference_evaluator.ReferenceEvaluator` gives: the same arithmetic on the same tokens in another order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.documents import Documents
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.evaluation import Evaluation, NotFiniteError, StopRule
from cti_edits.harness.questions import FilledMasks, GeneratedText, questions
from cti_edits.replay.answers import Answers
from cti_edits.replay.batches import ReadBatch
from cti_edits.replay.block_replay import BlockReplay, CachePart
from cti_edits.replay.decoding import UnfinishedText, decode
from cti_edits.replay.example_order import ExampleOrder
from cti_edits.replay.layout import Layout, cache_bytes
from cti_edits.replay.memory import within_memory
from cti_edits.replay.onednn import linear_by_onednn


@dataclass
class _UnfinishedBatch:
    """The texts of a batch that do not go as drafted, and the keys and values that they go on from."""

    batch: int
    cache: Any
    texts: dict[tuple[int, int], UnfinishedText]


class ReplayEvaluator:
    """Evaluates a model on the calibration examples from a block on, given that no block before it is edited.

    The hidden states that enter the block are kept from one call to the next, and carried on from there when a later
    block is asked for: asked in the order of the blocks, each of them runs once. Batches halve whenever the memory is
    exhausted.
    """

    def __init__(
        self, lm: EditedHFLM, calibration: CalibrationSet, rows: int | None = None, replay: BlockReplay | None = None
    ) -> None:
        """Prepare for ``calibration``; the model is unedited.

        Args:
            lm: a model of `harness.lm` or `harness.masked_lm`.
            calibration: the examples.
            rows: see `layout.Layout`.
            replay: of the same model, if there is one already.

        Raises:
            UnsupportedError: the task or the model is one that only the reference evaluator can evaluate.
            EditError: an answer has no tokens, or does not fit the model.
        """
        self._lm = lm
        self._labels = calibration.labels
        self._documents = Documents(calibration)
        self._replay = replay or BlockReplay(lm)
        self._questions = questions(lm, calibration, self._documents)
        self._layout = Layout(lm, self._replay, self._questions, rows)
        self._writes = any(isinstance(sequence, GeneratedText) for q in self._questions for sequence in q.asked)
        self._example_order = ExampleOrder()
        self._texts_expected = False

    @property
    def batch_tokens(self) -> int | None:
        """See `evaluator.Evaluator`."""
        return self._layout.batch_tokens

    def reset(self) -> None:
        """See `evaluator.Evaluator`."""
        self._layout.set_questions(self._questions)
        self._example_order = ExampleOrder()
        self._texts_expected = False

    def evaluate(self, start: int = 0, stop: StopRule | None = None) -> Evaluation | None:
        """Evaluate the model as it stands.

        What it writes when it is first called, later calls expect, and what it has right and wrong decides what lies
        together, so that the unedited model comes first.

        Args:
            start: no block before this one is edited; 0 is always right.
            stop: asked after each batch; if it says so, the rest is left out.

        Returns:
            None if the rest was left out.

        Raises:
            EditError: a loss is not finite, or a single example does not fit the memory.
        """
        former = self._layout.size
        while True:
            try:
                return within_memory(functools.partial(self._evaluate, start, stop), self._layout.halve)
            except NotFiniteError:
                # Of the examples of a row, it may be another one's.
                if not self._layout.one_example_a_batch():
                    # It is its own, whatever the batches, which need not be small for what comes after.
                    self._layout.resize(former)
                    raise

    def _evaluate(self, start: int, stop: StopRule | None) -> Evaluation | None:
        with torch.no_grad(), linear_by_onednn(self._lm.model):
            return self._run_batches(0 if start and not self._replay.in_parts else start, stop)

    def _run_batches(self, start: int, stop: StopRule | None) -> Evaluation | None:
        layout = self._layout
        layout.advance_to(start)
        answers = Answers(self._documents, layout.questions)
        written: dict[tuple[int, int], list[int]] = {}
        waiting: list[_UnfinishedBatch] = []
        remaining, together = list(range(len(layout.batches))), range(0)
        while remaining:
            begun = [index for index in remaining if index in together] or remaining
            index = begun[self._example_order.next([layout.batches[i].examples for i in begun], answers.right)]
            remaining.remove(index)
            batch = layout.batches[index]
            cache = self._replay.empty_cache() if self._writes else None
            logits = self._replay.logits(batch.packed, start, layout.entering[index], batch.rows, batch.columns, cache)
            answers.score(batch, logits, self._lm.log_probabilities(logits))
            new: dict[tuple[int, int], list[int]] = {}
            if texts := self._read_texts(batch, logits, answers, new):
                waiting.append(_UnfinishedBatch(index, cache, texts))
            if self._writes:
                together = layout.continued_together(index, cache_bytes([cache]))
            if waiting and not any(i in together for i in remaining):
                # What is continued together, and in which order, must not depend on which batch came first.
                waiting.sort(key=lambda one: one.batch)
                self._continue_texts(start, waiting)
                new |= {name: text.written for group in waiting for name, text in group.texts.items()}
                waiting = []
            self._take_texts(new, answers)
            written |= new
            answers.finish({*batch.examples, *(example for example, _ in new)})
            if stop is not None and answers.decided(stop):
                self._example_order.add(answers.right)
                return None
        self._example_order.add(answers.right)
        if not self._texts_expected:
            self._expect_texts(written, answers.right)
        return answers.evaluation(self._labels)

    def _read_texts(
        self, batch: ReadBatch, logits: torch.Tensor, answers: Answers, written: dict[tuple[int, int], list[int]]
    ) -> dict[tuple[int, int], UnfinishedText]:
        """Take what a masked model fills in and what is written as drafted; what goes another way is given back."""
        waiting: dict[tuple[int, int], UnfinishedText] = {}
        if len(batch.scored) == len(batch.reads):
            return waiting
        likeliest = logits.argmax(dim=-1).tolist()
        for name, places in batch.reads.items():
            sequence = self._sequence(name)
            tokens = [likeliest[place] for place in places]
            if isinstance(sequence, FilledMasks):
                answers.responses[name] = sequence.text(self._lm, tokens)
            elif isinstance(sequence, GeneratedText):
                agreed = next((i for i, draft in enumerate(sequence.draft) if tokens[i] != draft), len(tokens) - 1)
                finished = functools.partial(sequence.generation.finished, self._lm)
                if finished(tokens[: agreed + 1]):
                    written[name] = tokens[: agreed + 1]
                    continue
                row, path = batch.paths[name]
                seen = len(sequence.prompt) + agreed
                waiting[name] = UnfinishedText(row, list(path[:seen]), tokens[: agreed + 1], finished)
        return waiting

    def _sequence(self, name: tuple[int, int]) -> Any:
        return self._layout.questions[name[0]].sequences[name[1]]

    def _take_texts(self, written: dict[tuple[int, int], list[int]], answers: Answers) -> None:
        for name, tokens in written.items():
            answers.responses[name] = self._sequence(name).generation.text(self._lm, tokens)

    def _continue_texts(self, start: int, waiting: Sequence[_UnfinishedBatch]) -> None:
        """Continue the texts of these batches."""
        layout = self._layout
        for group in waiting:
            if start and layout.kept is None:
                batch = layout.batches[group.batch]
                group.cache = self._replay.empty_cache()
                self._replay.logits(batch.packed, 0, None, batch.rows, batch.columns, group.cache)
        # What the texts of a batch share, each of them has for itself here.
        texts = [(group, text) for group in waiting for text in group.texts.values()]
        texts.sort(key=lambda one: len(one[1].path))
        while texts:
            together = self._texts_that_fit(start, texts)
            texts = texts[len(together) :]
            unfinished, parts = [], []
            for group in waiting:
                own = [text for owner, text in together if owner is group]
                if own:
                    parts.append(
                        CachePart(*self._caches(group), [text.row for text in own], [text.path for text in own])
                    )
                    unfinished += own
            decode(self._replay, self._replay.gathered_cache(parts, start), unfinished)

    def _caches(self, group: _UnfinishedBatch) -> tuple[Any, Any]:
        """The keys and values of a batch: those of unedited blocks, and those of the others."""
        kept = self._layout.kept
        return (group.cache if kept is None else kept[group.batch]), group.cache

    def _texts_that_fit(
        self, start: int, texts: Sequence[tuple[_UnfinishedBatch, UnfinishedText]]
    ) -> Sequence[tuple[_UnfinishedBatch, UnfinishedText]]:
        """So many of the first texts, one or more, as are within `Layout.kept_bytes` each with a row of its own."""
        before, after = self._caches(texts[0][0])
        layers = [*before.layers[:start], *after.layers[start:]]
        column = sum(2 * layer.keys[0, :, 0].nbytes for layer in layers if layer.keys is not None)
        count = 1
        while count < len(texts) and (count + 1) * len(texts[count][1].path) * column <= self._layout.kept_bytes:
            count += 1
        return texts[:count]

    def _expect_texts(self, written: dict[tuple[int, int], list[int]], right: dict[int, bool]) -> None:
        """Expect of later calls what was written now, and have what is right now apart from what is wrong."""
        self._layout.set_questions(
            [
                question.with_drafts([tuple(written.get((example, i), ())) for i in range(len(question.asked))])
                for example, question in enumerate(self._layout.questions)
            ],
            [right[example] for example in range(len(self._layout.questions))],
        )
        self._texts_expected = True
