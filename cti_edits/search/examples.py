"""Which examples of a task a search works on."""

from __future__ import annotations

from dataclasses import dataclass

from cti_edits.harness.calibration import CalibrationSet, draw, validation_part
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.task import Task
from cti_edits.search.settings import Part, SearchSettings


@dataclass(frozen=True)
class SearchExamples:
    """The examples of the gradients, and those that every candidate is evaluated on; often the same.

    Without gradients, ``gradients`` are those that every candidate is evaluated on.
    """

    gradients: CalibrationSet
    evaluations: CalibrationSet


def examples(
    task: Task, settings: SearchSettings, prompting: Prompting | None = None, metric: str | None = None
) -> SearchExamples:
    """The examples of ``task`` that ``settings`` ask for. Where both are drawn, they are one and the same sample.

    Raises:
        EditError: the validation part is too small, or the task has no gold answers; see `calibration.draw`.
    """
    found: dict[Part, CalibrationSet] = {}

    def part(which: Part) -> CalibrationSet:
        if which not in found:
            found[which] = (
                draw(task, settings.samples, settings.seed, prompting, metric)
                if which == "sample"
                else validation_part(task, prompting, metric)
            )
        return found[which]

    evaluations = part(settings.evaluated_on)
    return SearchExamples(
        gradients=evaluations if settings.top_q is None else part(settings.gradients_on), evaluations=evaluations
    )
