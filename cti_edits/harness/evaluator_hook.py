"""A function around ``lm_eval.evaluator.evaluate``, by which a model of ours learns what lm-eval is about to ask."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from cti_edits.errors import one_line_in_command
from cti_edits.harness.skipped_rows import SkippedRows, without
from cti_edits.harness.task import Task


def install() -> None:
    """Make lm-eval heed `SkippedRows` of the models that it runs, and tell them what it is about to ask.

    Runs of other models go on as before.
    """
    from lm_eval import evaluator

    original = evaluator.evaluate
    if getattr(original, "tells_models_of_ours", False):
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
        with one_line_in_command(), without(skipped, tasks):
            return original(*arguments, **named)

    evaluate.tells_models_of_ours = True  # type: ignore[attr-defined]
    evaluator.evaluate = evaluate


def tasks_in(tree: object, name: str = "") -> Iterator[tuple[str, Task]]:
    """Names and tasks in what `evaluate` is given: by kind, or nested by group."""
    from lm_eval.api.task import Task as LmEvalTask

    if isinstance(tree, LmEvalTask):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from tasks_in(value, str(key))
