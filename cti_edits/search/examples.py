"""Which examples of a task a search works on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import PurePath

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, draw, validation_part
from cti_edits.harness.own_rows import OwnRows, rows_task, without_drawn
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


@dataclass(frozen=True)
class RowsTask:
    """A task of rows of one's own.

    Attributes:
        task: it.
        settings: with no more samples than there are rows.
        has_test_part: whether rows are left to measure on.
    """

    task: Task
    settings: SearchSettings
    has_test_part: bool

    def check_final(self) -> None:
        """Refuse to measure where no rows are left.

        Raises:
            EditError: every row was drawn.
        """
        if not self.has_test_part:
            raise EditError(
                "final: every row was drawn and none is left; give more, or others to measure on (test_rows)"
            )


def task_of_rows(rows: OwnRows, test_rows: OwnRows | None, settings: SearchSettings) -> RowsTask:
    """The task that a search on ``rows`` works on; its test part is ``test_rows``, or the rows that are not drawn.

    Raises:
        EditError: the two are not of one kind.
    """
    settings = dataclasses.replace(settings, samples=min(settings.samples, len(rows.rows)))
    if test_rows is None and settings.evaluated_on == settings.gradients_on == "sample":
        test_rows = without_drawn(rows, settings.samples, settings.seed)
    name = PurePath(rows.source.id).stem if rows.source else "rows"
    return RowsTask(rows_task(name, rows, test_rows), settings, test_rows is not None)
