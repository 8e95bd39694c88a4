"""A calibration set's examples as lm-eval sees them: what each asks of a model, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cti_edits.harness.calibration import CalibrationSet


class Documents:
    """The examples of a calibration set, in its order.

    Attributes:
        doc_ids: the row of each.
        metric: that says right or wrong of an example.
        instances: lm-eval's requests of each, in their order.
    """

    def __init__(self, calibration: CalibrationSet) -> None:
        self.doc_ids = calibration.doc_ids
        self.metric = calibration.metric
        self._task = calibration.task
        calibration.prompting.build_requests(self._task, calibration.doc_ids)
        found: dict[int, list[Any]] = {}
        for instance in self._task.instances:
            found.setdefault(instance.doc_id, []).append(instance)
        self.instances = [sorted(group, key=lambda instance: instance.idx) for _, group in sorted(found.items())]

    def sample(self, index: int, responses: Sequence[Any]) -> dict[str, Any]:
        """What lm-eval would log of one example: its row, metrics and filtered responses, under the metric's filter.

        Args:
            index: of the example.
            responses: one a request, as an lm-eval model gives them.
        """
        group = self.instances[index]
        for instance, response in zip(group, responses, strict=True):
            instance.resps, instance.filtered_resps = [response], {}
        for ensemble in self._task._filters:
            ensemble.apply(group)
        filtered = [instance.filtered_resps[self.metric.filter] for instance in group]
        metrics = self._task.process_results(group[0].doc, filtered)
        return {"doc_id": self.doc_ids[index], "filtered_resps": filtered, **metrics}
