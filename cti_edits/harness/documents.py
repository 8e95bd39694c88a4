"""The examples of a calibration set as lm-eval has them: the requests of each, and its metrics given the responses."""

from __future__ import annotations

from collections.abc import Sequence

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.task import LoggedSample, Response, by_row


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
        self.instances = by_row(self._task)

    def sample(self, index: int, responses: Sequence[Response]) -> LoggedSample:
        """What lm-eval would log of one example under the metric's filter.

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
        return LoggedSample(self.doc_ids[index], filtered, self._task.process_results(group[0].doc, filtered))
