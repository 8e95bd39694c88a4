"""The reference evaluator: edit the model, ask lm-eval, restore."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import Any

from cti_edits.calibration import METRIC, CalibrationSet
from cti_edits.errors import EditError


@dataclass(frozen=True)
class Measured:
    """What the model, as it stands, gave on the calibration examples.

    Attributes:
        accuracy: share of examples that are right.
        nll: mean over examples of the mean negative log-likelihood of the gold answer's tokens, nats.
        correct: right or wrong, in the order of the calibration set.
    """

    accuracy: float
    nll: float
    correct: tuple[bool, ...]


class ReferenceEvaluator:
    """Evaluates the model through ``lm_eval.evaluator.evaluate``, example by example as lm-eval scores them."""

    def __init__(self, lm: Any, calibration: CalibrationSet) -> None:
        self.lm = lm
        self.calibration = calibration
        self._answer_tokens = [lm.answer_length(request) for request in calibration.gold]
        # lm-eval draws a progress bar for every call; the search has one of its own.
        lm.loglikelihood = functools.partial(type(lm).loglikelihood, lm, disable_tqdm=True)

    def measure(self) -> Measured:
        """Evaluate the model as it stands on the calibration examples.

        Raises:
            EditError: a log-likelihood is not finite; the message names the example.
        """
        from lm_eval.evaluator import evaluate

        name = self.calibration.name
        level = logging.getLogger("lm_eval").level
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        try:
            results = evaluate(
                lm=self.lm,
                task_dict={"tasks": {name: self.calibration.task}, "groups": {}, "group_map": {}},
                samples={name: list(self.calibration.doc_ids)},
                bootstrap_iters=0,
            )
        finally:
            logging.getLogger("lm_eval").setLevel(level)
        logged = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        total = 0.0
        for row, (sample, index) in enumerate(zip(logged, self.calibration.gold_index, strict=True)):
            likelihood = float(sample["filtered_resps"][index][0])
            if not -float("inf") < likelihood < float("inf"):
                raise EditError(f"the log-likelihood of the gold answer on row {sample['doc_id']} is {likelihood}")
            total -= likelihood / self._answer_tokens[row]
        correct = tuple(bool(sample[METRIC]) for sample in logged)
        return Measured(sum(correct) / len(correct), total / len(correct), correct)
