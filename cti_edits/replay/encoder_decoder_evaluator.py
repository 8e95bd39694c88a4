"""The fast evaluator of encoder-decoders: a context goes through the encoder once, and not again unless that is edited.

Gives what `reference_evaluator.ReferenceEvaluator` gives, where every answer has a pass of the encoder of its own.
"""

from __future__ import annotations

import functools

import torch
from transformers.modeling_outputs import BaseModelOutput

from cti_edits.errors import EditError, printable
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.documents import Documents
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.evaluation import Evaluation, StopRule
from cti_edits.harness.questions import UnsupportedError, questions
from cti_edits.models.apply import model_family
from cti_edits.models.wrappers import inner_model
from cti_edits.replay.answer_batches import answer_batches
from cti_edits.replay.answers import Answers
from cti_edits.replay.example_order import ExampleOrder
from cti_edits.replay.memory import BatchSize, default_rows, within_memory
from cti_edits.replay.packing_check import check_alike

KEPT_BYTES = 1 << 30
"""What the unedited encoder gives is kept, up to so much; past it, computed anew."""


class EncoderDecoderEvaluator:
    """Evaluates an encoder-decoder on the calibration examples, where the answers' likelihoods are all that is asked.

    Batches halve whenever the memory is exhausted.
    """

    def __init__(self, lm: EditedHFLM, calibration: CalibrationSet, rows: int | None = None) -> None:
        """Prepare for ``calibration``; the model is unedited.

        Args:
            lm: a model of `harness.seq2seq_lm`.
            calibration: the examples.
            rows: batches have so many times 256 tokens; `default_rows` of the model's device if None.

        Raises:
            UnsupportedError: the task or the model is one that only the reference evaluator can evaluate.
            EditError: an answer has no tokens, or does not fit the model.
        """
        self._lm = lm
        self._labels = calibration.labels
        self._documents = Documents(calibration)
        self._questions = questions(lm, calibration, self._documents)
        self._size = BatchSize(default_rows(lm.device) if rows is None else rows)
        self._decoder_start = encoder_depth(lm.model)
        self._example_order = ExampleOrder()
        self._pack_anew()
        within_memory(self._check, self._halve)

    @property
    def batch_tokens(self) -> int | None:
        """See `evaluator.Evaluator`."""
        return self._size.tokens

    def reset(self) -> None:
        """See `evaluator.Evaluator`."""
        self._example_order = ExampleOrder()

    def evaluate(self, start: int = 0, stop: StopRule | None = None) -> Evaluation | None:
        """Evaluate the model as it stands.

        Args:
            start: no block before this one is edited, counted from the encoder's first to the decoder's last.
            stop: asked after each batch; if it says so, the rest is left out.

        Returns:
            None if the rest was left out.

        Raises:
            EditError: a loss is not finite, or a single example does not fit the memory.
        """
        encoder_edited = start < self._decoder_start
        return within_memory(functools.partial(self._run_batches, encoder_edited, stop), self._halve)

    def _run_batches(self, encoder_edited: bool, stop: StopRule | None) -> Evaluation | None:
        answers = Answers(self._documents, self._questions)
        remaining = list(range(len(self._batches)))
        while remaining:
            examples = [self._batches[index].examples for index in remaining]
            index = remaining.pop(self._example_order.next(examples, answers.right))
            batch = self._batches[index]
            logits = self._logits(index, encoder_edited)
            answers.score(batch, logits, self._lm.log_probabilities(logits))
            answers.finish(batch.examples)
            if stop is not None and answers.decided(stop):
                self._example_order.add(answers.right)
                return None
        self._example_order.add(answers.right)
        return answers.evaluation(self._labels)

    @torch.no_grad()
    def _logits(self, index: int, encoder_edited: bool) -> torch.Tensor:
        """The logits at the places of a batch, (places, vocabulary)."""
        batch, device = self._batches[index], self._lm.device
        precision = self._lm.mixed_precision_dtype
        with torch.autocast(torch.device(device).type, dtype=precision, enabled=precision is not None):
            states = self._kept.get(index)
            if encoder_edited or states is None:
                encoder = self._lm.model.get_encoder()
                states = encoder(input_ids=batch.inputs.to(device), attention_mask=batch.mask.to(device))[0]
            if not encoder_edited:
                self._keep(index, states)
            logits: torch.Tensor = self._lm.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states[batch.context_of.to(states.device)]),
                attention_mask=batch.mask[batch.context_of].to(device),
                labels=batch.labels.to(device),
            ).logits
        return logits[batch.rows.to(logits.device), batch.columns.to(logits.device)]

    def _keep(self, index: int, states: torch.Tensor) -> None:
        others = sum(kept.nbytes for number, kept in self._kept.items() if number != index)
        if not self._size.frugal and others + states.nbytes <= KEPT_BYTES:
            self._kept[index] = states

    def _pack_anew(self) -> None:
        self._batches = answer_batches(self._questions, self._size.tokens)
        self._kept: dict[int, torch.Tensor] = {}

    def _halve(self) -> None:
        if not self._size.halve(any(len(batch.examples) > 1 for batch in self._batches), recomputable=True):
            longest = max(batch.inputs.shape[1] for batch in self._batches)
            raise EditError(
                f"the memory of {self._lm.device} does not hold one example of {longest} tokens beside the model; "
                "a narrower dtype, another device or a task with shorter examples may fit"
            )
        self._pack_anew()

    def _check(self) -> None:
        """Compare two answers of the batch with the longest context with the same ones by themselves.

        Raises:
            UnsupportedError: they differ.
        """
        batch = self._batches[0]
        name = type(self._lm.model).__name__
        try:
            found = self._logits(0, encoder_edited=False)
        except (TypeError, ValueError, AttributeError) as error:
            raise UnsupportedError(f"{name} takes no states of its encoder: {printable(error, 200)}") from None
        lengths = batch.mask.sum(dim=1)[batch.context_of]
        for answer in {int(lengths.argmin()), int(lengths.argmax())}:
            places = batch.rows == answer
            row = batch.context_of[answer]
            tokens = batch.inputs[row][batch.mask[row] == 1]
            check_alike(self._lm, found[places], self._alone(tokens, batch.scored_tokens[places]), "in batches")

    @torch.no_grad()
    def _alone(self, tokens: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """The logits at an answer's places in a pass of its own, padded as lm-eval pads it."""
        device, precision = self._lm.device, self._lm.mixed_precision_dtype
        labels = torch.nn.functional.pad(answer, (0, 1))
        with torch.autocast(torch.device(device).type, dtype=precision, enabled=precision is not None):
            logits: torch.Tensor = self._lm.model(
                input_ids=tokens[None].to(device),
                attention_mask=torch.ones_like(tokens)[None].to(device),
                labels=labels[None].to(device),
            ).logits
        return logits[0, :-1]


def encoder_depth(model: torch.nn.Module) -> int:
    """How many blocks the encoder has, which come before the decoder's; 0 without one."""
    model = inner_model(model)
    family = model_family(model)
    return family.layer_count(dict(model.named_modules()), "encoder") if "encoder" in family.stacks else 0
