"""The reference evaluator: has lm-eval evaluate the model, with the edit in its weights."""

from __future__ import annotations

import functools
import logging

import torch

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.evaluation import Evaluation, StopRule, summarize
from cti_edits.harness.task import LoggedSample

BATCH_SIZE = 16


class ReferenceEvaluator:
    """Evaluates the model through ``lm_eval.evaluator.evaluate``, example by example as lm-eval scores them."""

    def __init__(self, lm: EditedHFLM, calibration: CalibrationSet) -> None:
        self.lm = lm
        self.calibration = calibration
        self._answer_tokens = [len(lm.gold_tokens(request).answer) for request in calibration.gold]
        # lm-eval draws a progress bar for every call; the search has one of its own.
        lm.loglikelihood = functools.partial(type(lm).loglikelihood, lm, disable_tqdm=True)
        lm.generate_until = functools.partial(type(lm).generate_until, lm, disable_tqdm=True)

    @property
    def batch_tokens(self) -> int | None:
        """None: lm-eval decides what goes through the model together."""
        return None

    def reset(self) -> None:
        """Nothing is kept from one call to the next."""

    def evaluate(
        self,
        start: int = 0,  # noqa: ARG002
        stop: StopRule | None = None,  # noqa: ARG002
    ) -> Evaluation:
        """Evaluate the model as it is on all calibration examples. The replay evaluator's arguments are ignored.

        Raises:
            EditError: a log-likelihood is not finite, or the task's metric is not right or wrong for each example; the
                message names the example.
        """
        logged = self._logged_samples()
        if self.calibration.task.OUTPUT_TYPE == "generate_until":
            losses = self._gold_losses()
        else:
            losses = self._scored_losses(logged)
        return summarize(logged, losses, self.calibration.labels, self.calibration.metric.name)

    def _logged_samples(self) -> list[LoggedSample]:
        """What lm-eval logs of each example, in the order of the calibration set."""
        from lm_eval.evaluator import evaluate

        name = self.calibration.name
        logger = logging.getLogger("lm_eval")
        level = logger.level
        logger.setLevel(logging.ERROR)
        # The sampler of few-shot examples goes on from call to call.
        self.calibration.task.set_fewshot_seed(seed=self.calibration.prompting.fewshot_seed)
        try:
            results = evaluate(
                lm=self.lm,
                task_dict={"tasks": {name: self.calibration.task}, "groups": {}, "group_map": {}},
                samples={name: list(self.calibration.doc_ids)},
                bootstrap_iters=0,
                **self.calibration.prompting.evaluator_arguments(),
            )
        finally:
            logger.setLevel(level)
        logged = [
            LoggedSample(one["doc_id"], one["filtered_resps"], {metric: one[metric] for metric in one["metrics"]})
            for one in results["samples"][name]
            if one["filter"] == self.calibration.metric.filter
        ]
        return sorted(logged, key=lambda sample: sample.doc_id)

    def _scored_losses(self, logged: list[LoggedSample]) -> list[float]:
        """Mean negative log-likelihood of each gold answer's tokens, from the responses that lm-eval logged."""
        return [
            -float(sample.responses[index][0]) / tokens
            for sample, index, tokens in zip(logged, self.calibration.gold_index, self._answer_tokens, strict=True)
        ]

    def _gold_losses(self) -> list[float]:
        """The same from a forward pass of its own, for tasks in which the model generates the answer."""
        gold = self.calibration.gold
        size = self.lm.batch_size if isinstance(self.lm.batch_size, int) else BATCH_SIZE
        # Rows of similar length share a batch, so that there is little padding.
        order = sorted(range(len(gold)), key=lambda index: len(gold[index].context) + len(gold[index].continuation))
        losses = [0.0] * len(gold)
        with torch.no_grad():
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                found = self.lm.answer_losses([gold[index] for index in batch]).tolist()
                for index, loss in zip(batch, found, strict=True):
                    losses[index] = loss
        return losses
