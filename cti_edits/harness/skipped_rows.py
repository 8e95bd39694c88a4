"""Leaves the rows that an edit was searched on out of an lm-eval run, by their contents.

lm-eval computes metrics over all of a task's rows, so that a model alone cannot leave rows out. Its requests and its
metrics both go through ``Task.doc_iterator``, which `leave_out` filters while a model with `SkippedRows` is evaluated
(see `evaluator_hook`). Row numbers stay those of the task, few-shot examples are drawn as without the filter, and a
limit counts the rows that are left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError, printable
from cti_edits.harness.edit_argument import EditArgument, LoadedEdits, read_edits
from cti_edits.harness.row_hashes import DIGITS, doc_hash, split
from cti_edits.harness.task import Doc, Instance, Task


@dataclass(frozen=True)
class SkippedRows:
    """The rows that a model's runs leave out.

    Attributes:
        edits: name and digest of the edits that were searched on them.
        hashes: of the rows.
        left_out: by task, the numbers of the rows that the last run left out.
    """

    edits: tuple[tuple[str, str], ...]
    hashes: frozenset[str]
    left_out: dict[str, set[int]] = field(default_factory=dict)

    def __contains__(self, row: object) -> bool:
        return doc_hash(row)[:DIGITS] in self.hashes

    def to_json(self) -> dict[str, object]:
        """For the results: whose rows were left out, and how many of each task."""
        return {
            "edits": [{"name": name, "digest": digest} for name, digest in self.edits],
            "left_out": {task: len(rows) for task, rows in self.left_out.items()},
        }

    def check_requests(self, requests: Sequence[Instance]) -> None:
        """Refuse requests about rows that were to be left out: they do not come from lm-eval's `evaluate`.

        Raises:
            EditError: there is one.
        """
        seen: set[tuple[str, int]] = set()
        for request in requests:
            place = (str(request.task_name), request.doc_id)
            if place not in seen and request.doc in self:
                raise EditError(
                    f"skip_calibration: row {request.doc_id} of {printable(place[0])} was to be left out, and this "
                    "program asks about it; import lm_eval.evaluator and call its evaluate or simple_evaluate"
                )
            seen.add(place)


def searched_rows(edits: Sequence[Edit]) -> SkippedRows:
    """The rows that these edits were searched on, all together.

    Raises:
        EditError: a manifest does not say which.
    """
    hashes: set[str] = set()
    for edit in edits:
        found = None if edit.search is None else edit.search.row_hashes
        if found is None:
            parts = edit.metadata.get("composed_from")
            raise EditError(
                f"skip_calibration: {printable(edit.path or edit.name)} does not say on which rows it was searched: "
                + (
                    "it is a composition; name its parts, joined by +"
                    if parts
                    else "it was made before row hashes were recorded, or without a search; search it again"
                )
            )
        hashes |= split(found)
    return SkippedRows(tuple((edit.name, edit.digest()) for edit in edits), frozenset(hashes))


def rows_to_skip(argument: bool | EditArgument, edits: LoadedEdits | None) -> SkippedRows | None:
    """The rows that the argument ``skip_calibration`` leaves out; ``edits`` are those that the model has.

    Raises:
        EditError: no edit is named, or one does not say which rows it was searched on.
    """
    if argument is False or argument is None:
        return None
    if argument is not True:
        return searched_rows(read_edits(argument, "skip_calibration").parts)
    if edits is None:
        raise EditError("skip_calibration: true needs edit=FILE; for the base model, expected skip_calibration=FILE")
    return searched_rows(edits.parts)


@contextlib.contextmanager
def leave_out(skipped: SkippedRows, tasks: Mapping[str, Task]) -> Iterator[None]:
    """Inside, the tasks have no other rows than those that are left."""
    skipped.left_out.clear()
    filtered: list[Task] = []
    try:
        for name, task in tasks.items():
            if all(task is not one for one in filtered):
                filtered.append(task)
                _filter(skipped, name, task)
        yield
    finally:
        for task in filtered:
            for method in ("doc_iterator", "build_all_requests"):
                vars(task).pop(method, None)


def _filter(skipped: SkippedRows, name: str, task: Task) -> None:
    """Give one task methods of its own that leave the rows out."""
    from lm_eval.utils import create_iterator

    all_rows, build = task.doc_iterator, task.build_all_requests
    left_out = skipped.left_out.setdefault(name, set())

    def rows(samples: list[int] | None) -> Iterator[tuple[int, Doc]]:
        for doc_id, row in all_rows(samples=samples):
            if row in skipped:
                left_out.add(doc_id)
            else:
                yield doc_id, row

    def doc_iterator(
        *, rank: int = 0, limit: int | None = None, world_size: int = 1, samples: list[int] | None = None
    ) -> Iterator[tuple[int, Doc]]:
        # As in lm-eval: chosen rows have no limit, and a limit of 0 is none.
        most = int(limit) if limit and not samples else None
        found: Iterator[tuple[int, Doc]] = create_iterator(
            rows(samples), rank=int(rank), limit=most, world_size=int(world_size)
        )
        return found

    def build_all_requests(**named: Any) -> None:
        if next(doc_iterator(samples=named.get("samples")), None) is None:
            raise EditError(
                f"skip_calibration: all {len(left_out)} rows of {printable(name)} are among those that were searched "
                "on, so that none is left to measure"
            )
        # The cache of requests goes by the task's name, and would mix runs with all rows and without some.
        build(**{**named, "cache_requests": False, "rewrite_requests_cache": False})

    task.doc_iterator, task.build_all_requests = doc_iterator, build_all_requests
