"""The requests of a calibration set as token sequences, and the positions in them whose predictions are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.documents import Documents
from cti_edits.harness.edited_model import EditedHFLM, ScoredTokens
from cti_edits.harness.greedy import GreedyGeneration, greedy_generation
from cti_edits.harness.masked_lm import cut_at
from cti_edits.harness.task import Instance


class UnsupportedError(EditError):
    """A task or a model that only the reference evaluator can evaluate; the message says why."""


@dataclass(frozen=True)
class GeneratedText:
    """A text that a causal model generates.

    Attributes:
        prompt: token ids.
        generation: how the prompt is continued.
        draft: the tokens that an earlier evaluation generated; one forward pass checks them all.
    """

    prompt: tuple[int, ...]
    generation: GreedyGeneration
    draft: tuple[int, ...] = ()

    @property
    def tokens(self) -> tuple[int, ...]:
        """What goes into the model; the last token of a draft predicts nothing that is read."""
        return self.prompt + self.draft[:-1]

    @property
    def places(self) -> tuple[int, ...]:
        """Positions that predict the tokens of the text."""
        return tuple(range(len(self.prompt) - 1, len(self.tokens)))


@dataclass(frozen=True)
class FilledMasks:
    """A text that a masked model fills in.

    Attributes:
        tokens: token ids.
        places: positions of the masks.
        until: strings at which the text is cut.
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]
    until: str | tuple[str, ...] | None

    def text(self, lm: EditedHFLM, tokens: Sequence[int]) -> str:
        """The text that lm-eval makes of the likeliest tokens at the masks."""
        return cut_at(lm.tok_decode(list(tokens)), self.until)


TokenSequence = ScoredTokens | GeneratedText | FilledMasks


@dataclass(frozen=True)
class Question:
    """The sequences of one example.

    Attributes:
        doc_id: its row.
        asked: one for each of lm-eval's requests.
        gold: the gold answer's, if it is none of these.
        gold_index: the index of the gold answer's among these, otherwise.
    """

    doc_id: int
    asked: tuple[TokenSequence, ...]
    gold: ScoredTokens | None
    gold_index: int

    @property
    def sequences(self) -> tuple[TokenSequence, ...]:
        """All of its sequences, the gold answer's last."""
        return self.asked if self.gold is None else (*self.asked, self.gold)

    @property
    def gold_tokens(self) -> int:
        """How many tokens the gold answer has."""
        gold = self.asked[self.gold_index] if self.gold is None else self.gold
        return len(gold.places)

    def with_drafts(self, drafts: Sequence[tuple[int, ...]]) -> Question:
        """The same with generated texts, one a request, as drafts."""
        asked = tuple(
            dataclasses.replace(sequence, draft=draft) if isinstance(sequence, GeneratedText) else sequence
            for sequence, draft in zip(self.asked, drafts, strict=True)
        )
        return dataclasses.replace(self, asked=asked)


def questions(lm: EditedHFLM, calibration: CalibrationSet, documents: Documents) -> list[Question]:
    """The sequences of every example for ``lm``, in the order of the calibration set.

    Raises:
        UnsupportedError: a request is neither a likelihood nor a plain greedy generation, or is made several times.
        EditError: an answer has no tokens, or more than the model takes.
    """
    found = []
    for doc_id, group, gold, index in zip(
        documents.doc_ids, documents.instances, calibration.gold, calibration.gold_index, strict=True
    ):
        if any(instance.repeats != 1 for instance in group):
            raise UnsupportedError("the task asks for each answer more than once")
        writes = any(instance.request_type == "generate_until" for instance in group)
        asked = tuple(_sequence(lm, instance) for instance in group)
        found.append(Question(doc_id, asked, lm.gold_tokens(gold) if writes else None, index))
    return found


def _sequence(lm: EditedHFLM, instance: Instance) -> TokenSequence:
    if instance.request_type == "loglikelihood":
        return lm.scored_tokens(*instance.args[:2])
    if instance.request_type != "generate_until":
        raise UnsupportedError(f"the task makes {instance.request_type} requests")
    context, arguments = instance.args[:2]
    if lm.kind == "seq2seq":
        raise UnsupportedError("an encoder-decoder writes its texts through lm-eval")
    if lm.kind == "masked":
        prompt = lm.masked_prompt(context)
        until = arguments.get("until")
        return FilledMasks(prompt.tokens, prompt.places, tuple(until) if isinstance(until, list) else until)
    generation = greedy_generation(lm, arguments)
    if generation is None:
        raise UnsupportedError("the task or the model's generation config asks for more than greedy generation")
    return GeneratedText(lm.prompt_tokens(context, generation.room), generation)
