"""What an encoder-decoder is asked, in batches: each context once, with every answer that is scored after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import Question, UnsupportedError
from cti_edits.harness.seq2seq_lm import padded


@dataclass(frozen=True)
class AnswerBatch:
    """The answers of some examples.

    Attributes:
        inputs: (contexts, width) int64, what the encoder is given, padded on the right.
        mask: of ``inputs``, 1 for a token and 0 for padding.
        context_of: (answers,) int64, the row of ``inputs`` that each answer comes after.
        labels: (answers, longest) int64, their tokens, padded with `seq2seq_lm.NO_TOKEN`.
        rows: (places,) int64, of each token of each answer the row in ``labels``.
        columns: (places,) int64, and the column.
        examples: the examples whose answers are here, all of them.
        reads: for each answer, (example, number among the example's), which of the places are its own.
        scored_places: (places,) int64, all of them.
        scored_tokens: (places,) int64, the token at each.
        scored: the answers, in the order of their places.
    """

    inputs: torch.Tensor
    mask: torch.Tensor
    context_of: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    examples: list[int]
    reads: dict[tuple[int, int], list[int]]
    scored_places: torch.Tensor
    scored_tokens: torch.Tensor
    scored: list[tuple[int, int]]


def answer_batches(questions: Sequence[Question], tokens: int) -> list[AnswerBatch]:
    """Batches of everything that is asked.

    Args:
        questions: of every example, each a likelihood.
        tokens: of all contexts and answers of a batch with their padding, at most; one example is always taken.

    Raises:
        UnsupportedError: something else is asked than the likelihood of an answer.
    """
    answers = [_answers(question) for question in questions]
    widths = [max(len(one.tokens) for one in of_example) for of_example in answers]
    batches: list[list[int]] = []
    # Examples of like length share a batch, the longest first, so that what does not fit shows at once.
    for example in sorted(range(len(questions)), key=lambda example: -widths[example]):
        if batches and _size([answers[one] for one in (*batches[-1], example)]) <= tokens:
            batches[-1].append(example)
        else:
            batches.append([example])
    return [_batch(sorted(examples), answers) for examples in batches]


def _answers(question: Question) -> list[ScoredTokens]:
    found = [one for one in question.sequences if isinstance(one, ScoredTokens)]
    if len(found) < len(question.sequences):
        raise UnsupportedError("an encoder-decoder writes its texts through lm-eval")
    return found


def _size(examples: Sequence[Sequence[ScoredTokens]]) -> int:
    every = [one for answers in examples for one in answers]
    contexts = {one.tokens for one in every}
    return len(contexts) * max(map(len, contexts)) + len(every) * max(len(one.answer) for one in every)


def _batch(examples: list[int], answers: Sequence[Sequence[ScoredTokens]]) -> AnswerBatch:
    contexts: dict[tuple[int, ...], int] = {}
    context_of: list[int] = []
    labels: list[tuple[int, ...]] = []
    places: list[tuple[int, int]] = []
    reads: dict[tuple[int, int], list[int]] = {}
    for example in examples:
        for number, one in enumerate(answers[example]):
            context_of.append(contexts.setdefault(one.tokens, len(contexts)))
            reads[example, number] = list(range(len(places), len(places) + len(one.answer)))
            places += [(len(labels), column) for column in range(len(one.answer))]
            labels.append(one.answer)
    at = torch.tensor(places)
    inputs, mask = padded(list(contexts), 0)
    return AnswerBatch(
        inputs,
        mask,
        torch.tensor(context_of),
        padded(labels)[0],
        at[:, 0],
        at[:, 1],
        examples,
        reads,
        torch.arange(len(places)),
        torch.tensor([token for answer in labels for token in answer]),
        list(reads),
    )
