"""Collects what a model answers, and turns each example's answers into lm-eval's verdict once they are all there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch

from cti_edits.harness.documents import Documents
from cti_edits.harness.evaluation import Evaluation, StopRule, checked_loss, summarize
from cti_edits.harness.metrics import is_right
from cti_edits.harness.questions import Question
from cti_edits.harness.task import LoggedSample, Response


class ScoredBatch(Protocol):
    """What is looked at of a batch; see `batches.ReadBatch`."""

    @property
    def reads(self) -> Mapping[tuple[int, int], Sequence[int]]:
        """For each sequence, (example, number among the example's), which of the places are its own."""
        ...

    @property
    def scored_places(self) -> torch.Tensor:
        """For each token of each scored answer, the place that predicts it."""
        ...

    @property
    def scored_tokens(self) -> torch.Tensor:
        """And its id."""
        ...

    @property
    def scored(self) -> Sequence[tuple[int, int]]:
        """The sequences of these answers, in the order of their tokens."""
        ...


class Answers:
    """The answers to a set of questions.

    Attributes:
        responses: by example and number of its request, as an lm-eval model gives them.
    """

    def __init__(self, documents: Documents, questions: Sequence[Question]) -> None:
        self.responses: dict[tuple[int, int], Response] = {}
        self._documents = documents
        self._questions = questions
        self._gold: dict[int, float] = {}
        self._samples: dict[int, LoggedSample] = {}
        self._losses: dict[int, float] = {}

    def score(self, batch: ScoredBatch, logits: torch.Tensor, logprobs: torch.Tensor) -> None:
        """Take the likelihoods of a batch's scored answers.

        Args:
            batch: the batch.
            logits: (places, vocabulary), at the batch's places.
            logprobs: (places, vocabulary), what lm-eval makes of them.
        """
        if not batch.scored:
            return
        places, tokens = batch.scored_places.to(logprobs.device), batch.scored_tokens.to(logprobs.device)
        found = logprobs[places, tokens].double().tolist()
        greedy = (logprobs.argmax(dim=-1)[places] == tokens).tolist()
        bounds = [0, *itertools.accumulate(len(batch.reads[name]) for name in batch.scored)]
        sums = torch.tensor([sum(found[a:b]) for a, b in itertools.pairwise(bounds)], dtype=torch.float64)
        # In half precision lm-eval's sums, too, have few digits, and then choices are equal that were not.
        rounded = sums.to(logprobs.dtype).tolist()
        wide = self._wide_likelihoods(batch, logits, bounds)
        for index, ((example, number), (begin, end)) in enumerate(
            zip(batch.scored, itertools.pairwise(bounds), strict=True)
        ):
            question = self._questions[example]
            if number < len(question.asked):
                self.responses[example, number] = (rounded[index], all(greedy[begin:end]))
            else:
                self._gold[example] = wide[index]

    def _wide_likelihoods(self, batch: ScoredBatch, logits: torch.Tensor, bounds: Sequence[int]) -> list[float]:
        """Of each scored answer, in float32 or wider: the gold answers that lm-eval does not ask for, as losses are."""
        if all(number < len(self._questions[example].asked) for example, number in batch.scored):
            return []
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        places, tokens = batch.scored_places.to(wide.device), batch.scored_tokens.to(wide.device)
        found = torch.log_softmax(wide, dim=-1)[places, tokens].double().tolist()
        return [sum(found[a:b]) for a, b in itertools.pairwise(bounds)]

    def finish(self, examples: Iterable[int]) -> None:
        """Have lm-eval judge those of the examples whose responses are all there.

        Raises:
            EditError: a loss is not finite, or the metric is not right or wrong; the message names the row.
        """
        for example in examples:
            question = self._questions[example]
            names = [(example, number) for number in range(len(question.asked))]
            if example in self._samples or not all(name in self.responses for name in names):
                continue
            sample = self._documents.sample(example, [self.responses[name] for name in names])
            if question.gold is None:
                likelihood = float(sample.responses[question.gold_index][0])
            else:
                likelihood = self._gold[example]
            self._samples[example] = sample
            self._losses[example] = checked_loss(-likelihood / question.gold_tokens, question.doc_id)

    @property
    def right(self) -> dict[int, bool]:
        """Of the examples that were judged so far, whether they are right."""
        return {example: is_right(sample, self._documents.metric.name) for example, sample in self._samples.items()}

    def decided(self, stop: StopRule) -> bool:
        """Ask whether what is there so far decides it; not if all is there."""
        if len(self._samples) == len(self._questions):
            return False
        return stop(sum(not right for right in self.right.values()), math.fsum(self._losses.values()))

    def evaluation(self, labels: Sequence[str] | None) -> Evaluation:
        """All of them together, in the order of the questions."""
        order = range(len(self._questions))
        samples, losses = [self._samples[i] for i in order], [self._losses[i] for i in order]
        return summarize(samples, losses, labels, self._documents.metric.name)
