"""The metric that says right or wrong of an example."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from cti_edits.errors import EditError, printable
from cti_edits.harness.task import LoggedSample, Task

NO_FILTER = "none"
"""lm-eval's name for responses that went through no filter."""

NLL, BALANCED = "nll", "balanced"

CRITERIA = (NLL, BALANCED)
"""What else a search ranks by where it is asked for as a metric, of any task: see `search.selectors`."""

RIGHT_OR_WRONG = ("acc", "acc_norm", "exact_match", "acc_mutual_info", "acc_bytes")
"""lm-eval's metrics that are 0 or 1 for each example."""


@dataclass(frozen=True)
class Metric:
    """A metric of a task.

    Attributes:
        name: lm-eval's name of it, "exact_match".
        filter: the filter that responses go through before it.
    """

    name: str = "acc"
    filter: str = NO_FILTER

    def __str__(self) -> str:
        return self.name if self.filter == NO_FILTER else f"{self.name},{self.filter}"


def metric_of(task: Task, wanted: str | None = None) -> Metric:
    """The metric that a search on ``task`` ranks by.

    Args:
        task: an lm-eval task.
        wanted: one that it declares, "exact_match" or "exact_match,strict-match"; if None, acc, else the first of
            its metrics that is 0 or 1 for each example. Without a filter, the task's first.

    Raises:
        EditError: it has no such metric or filter; the message lists what there is.
    """
    declared, filters = list(task.aggregation()), [ensemble.name for ensemble in task._filters]
    listed = ", ".join(map(printable, declared))
    name, _, filter_name = (wanted or "").partition(",")
    if not wanted:
        name = next((one for one in ("acc", *declared) if one in RIGHT_OR_WRONG and one in declared), "")
        if not name:
            raise EditError(
                f"{task.config.task}: metric: a search ranks edits by one that is 0 or 1 for each example, such as "
                f"{', '.join(RIGHT_OR_WRONG[:3])}; this task has {listed}; name the one to use"
            )
    if name not in declared:
        near = difflib.get_close_matches(name, (*declared, *CRITERIA), 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise EditError(f"{task.config.task}: metric: there is no {printable(name)!r}{meant}; this task has {listed}")
    if filter_name and filter_name not in filters:
        raise EditError(
            f"{task.config.task}: metric: there is no filter {printable(filter_name)!r}; this task has "
            f"{printable(', '.join(filters))}"
        )
    return Metric(name, filter_name or filters[0])


def is_right(sample: LoggedSample, metric: str) -> bool:
    """Whether an example is right.

    Args:
        sample: what lm-eval logs of it.
        metric: the metric's name.

    Raises:
        EditError: the metric is missing, or neither 0 nor 1; the message names the row.
    """
    value = sample.metrics.get(metric, "missing")
    if value not in (0, 1):
        raise EditError(
            f"expected a metric {metric!r} that is 0 or 1 for each example; on row {sample.doc_id} it is "
            f"{printable(value)}"
        )
    return bool(value)


def is_zero_or_one(value: object) -> bool:
    """Whether a metric's value says right or wrong, and no more than that."""
    return isinstance(value, (int, float)) and value in (0, 1)
