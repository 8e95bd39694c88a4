"""Wraps ``lm_eval.evaluator.evaluate``, so that the models here see the tasks of a run before it starts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from cti_edits.errors import one_line_in_command
from cti_edits.harness.skipped_rows import SkippedRows, leave_out
from cti_edits.harness.task import Task


def wrap_evaluate() -> None:
    """Have lm-eval call a model's ``before_evaluation`` and leave its `SkippedRows` out. A second call does nothing.

    Runs of other models stay as they are.
    """
    from lm_eval import evaluator

    original = evaluator.evaluate
    if getattr(original, "wrapped_by_cti_edits", False):
        return

    @functools.wraps(original)
    def evaluate(*arguments: Any, **named: Any) -> Any:
        lm = arguments[0] if arguments else named.get("lm")
        tasks = dict(tasks_in(arguments[1] if len(arguments) > 1 else named.get("task_dict")))
        before = getattr(lm, "before_evaluation", None)
        if before is not None:
            before(tasks, bool(named.get("fewshot_as_multiturn")))
        skipped = getattr(lm, "skipped_rows", None)
        if not isinstance(skipped, SkippedRows):
            return original(*arguments, **named)
        with one_line_in_command(), leave_out(skipped, tasks):
            return original(*arguments, **named)

    evaluate.wrapped_by_cti_edits = True  # type: ignore[attr-defined]
    evaluator.evaluate = evaluate


def tasks_in(tree: object, name: str = "") -> Iterator[tuple[str, Task]]:
    """Names and tasks in the argument ``task_dict`` of lm-eval's ``evaluate``, in which groups are nested."""
    from lm_eval.api.task import Task as LmEvalTask

    if isinstance(tree, LmEvalTask):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from tasks_in(value, str(key))
