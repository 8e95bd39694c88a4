"""Which examples of a task a search works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from cti_edits.errors import EditError, about
from cti_edits.harness.calibration import CalibrationSet, draw, final_part, fresh_part, validation_part
from cti_edits.harness.own_rows import OwnRows, rows_task, without_drawn
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.task import Task
from cti_edits.harness.tasks import load_task
from cti_edits.models.architectures import Kind
from cti_edits.progress import Progress
from cti_edits.search.settings import HELD_OUT, HeldOut, Part, SearchSettings


@dataclass(frozen=True)
class SearchExamples:
    """The examples of each step of a search.

    Attributes:
        gradients: of the gradient pass; without one, the same as ``evaluations``.
        evaluations: those that every candidate is evaluated on; often the same.
        test: those that the edit that is found is measured on, if it is.
        confirmation: those that the best candidates are compared again on, if they are.
        untested: why there are none, where nobody asked for none.
    """

    gradients: CalibrationSet
    evaluations: CalibrationSet
    test: CalibrationSet | None = None
    confirmation: CalibrationSet | None = None
    untested: str | None = None

    def say_untested(self, progress: Progress) -> None:
        """Tell that nothing is measured on other rows, and why."""
        if self.untested is not None:
            progress.note(f"not measured on rows that the search did not see: {self.untested}")


def examples(
    task: Task,
    settings: SearchSettings,
    prompting: Prompting | None = None,
    metric: str | None = None,
    held_out: HeldOut = "none",
) -> SearchExamples:
    """The examples of ``task`` that ``settings`` ask for. Where both are drawn, they are one and the same sample.

    Args:
        task: see `searched_task`.
        settings: how many are drawn, and what for.
        prompting: how they become prompts.
        metric: the metric that the edit is to improve.
        held_out: how many rows of the test part to have too, drawn with the settings' seed; none that is among the
            others.

    Raises:
        EditError: a part is too small, or the task has no gold answers; see `calibration.draw`.
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
    gradients = evaluations if not settings.takes_gradients else part(settings.gradients_on)
    seen = {*gradients.row_hashes, *evaluations.row_hashes}
    confirmation = None
    if settings.confirm is not None:
        with about("confirm"):
            confirmation = fresh_part(task, evaluations, len(evaluations.doc_ids), settings.seed, seen)
        seen.update(confirmation.row_hashes)
    if held_out == "none":
        return SearchExamples(gradients, evaluations, confirmation=confirmation)
    limit = None if held_out == "all" else held_out or HELD_OUT
    try:
        test = final_part(task, limit, prompting, metric, settings.seed, seen)
    except EditError as error:
        if held_out is not None:
            raise
        return SearchExamples(gradients, evaluations, confirmation=confirmation, untested=str(error))
    return SearchExamples(gradients, evaluations, test, confirmation)


def searched_task(
    task: str | OwnRows,
    settings: SearchSettings,
    *,
    test_rows: OwnRows | None = None,
    held_out: HeldOut = "none",
    include_path: str | None = None,
    kind: Kind = "causal",
    metadata: Mapping[str, object] | None = None,
) -> tuple[Task, SearchSettings]:
    """The task that a search works on, and the settings with no more samples than rows of one's own.

    Args:
        task: the name of a task, or rows of one's own.
        settings: of the search.
        test_rows: of one's own rows, the test part; the rows that are not drawn if None.
        held_out: how many rows of the test part are asked for.
        include_path: a folder with more tasks.
        kind: which models the task's prompt is to be for.
        metadata: lm-eval's, for tasks whose rows depend on it.

    Raises:
        EditError: there is no such task, ``test_rows`` are of another kind than the rows, or rows of the test part are
            asked for, and every row is drawn and none is left.
    """
    if isinstance(task, str):
        return load_task(task, include_path, kind, metadata), settings
    settings = dataclasses.replace(settings, samples=min(settings.samples, len(task.rows)))
    if test_rows is None and settings.evaluated_on == settings.gradients_on == "sample":
        test_rows = without_drawn(task, settings.samples, settings.seed)
    name = PurePath(task.source.id).stem if task.source else "rows"
    loaded = rows_task(name, task, test_rows)
    if test_rows is None and held_out not in (None, "none"):
        raise EditError(
            "held_out: every row was drawn and none is left to measure on; give more, or others (test_rows)"
        )
    return loaded, settings
