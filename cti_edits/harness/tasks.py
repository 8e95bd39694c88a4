"""Finds an lm-eval task by its name and loads it; refuses those that are for the other kind of model.

A prompt is for masked language models or for all others: encoder-decoders take those of causal language models.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cti_edits.errors import EditError, one_line_in_command, printable
from cti_edits.harness.benchmark_rows import first_line
from cti_edits.harness.task import Instance, Task
from cti_edits.hub.repositories import quiet_hub
from cti_edits.models.architectures import Kind
from cti_edits.paths import folder
from cti_edits.plugins import folders

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def load_task(
    name: str,
    include_path: str | None = None,
    kind: Kind = "causal",
    metadata: Mapping[str, object] | None = None,
) -> Task:
    """The lm-eval task ``name``; a bare "fever" is also looked for as "cti_fever" or "cti_fever_masked".

    Args:
        name: a bundled task, one of lm-eval, of a plugin or of ``include_path``.
        include_path: a folder with more tasks.
        kind: which models the task's prompt is to be for.
        metadata: lm-eval's, for tasks whose rows depend on it.

    Raises:
        EditError: there is no such task (the nearest names are given), it is a group, it is for the other kind, or it
            cannot be loaded.
    """
    paths = folders("task_folders") + ([include_path] if include_path else [])
    if include_path and not Path(include_path).is_dir():
        raise EditError(f"include_path: {printable(include_path)}: expected a folder with task files")
    found, manager = _find(name, _bundled_names(name, kind), paths, metadata)
    _check_single(found, manager)
    _check_kind(found, kind, manager)
    try:
        with quiet_hub():
            task: Task = manager.load([found])["tasks"][found]
            return task
    except EditError:
        raise
    except Exception as error:
        # Whatever a task's own code, its file or a data set's host may raise.
        raise EditError(f"cannot load the task {printable(found)} ({first_line(error)})") from error


def _bundled_names(name: str, kind: Kind) -> list[str]:
    return [f"cti_{name}_masked", f"cti_{name}"] if kind == "masked" else [f"cti_{name}"]


def _find(
    name: str, bundled: list[str], paths: list[str], metadata: Mapping[str, object] | None
) -> tuple[str, TaskManager]:
    """The first of ``bundled``, else ``name``, that a task is called, and the manager that has it."""
    from lm_eval.tasks import TaskManager

    # lm-eval's own index takes seconds to build; the bundled tasks alone are looked at first.
    for include_defaults in (False, True):
        manager = TaskManager(include_path=paths, include_defaults=include_defaults, metadata=dict(metadata or {}))
        for candidate in (*bundled, name):
            if candidate in manager.task_index:
                return candidate, manager
    known = manager.all_tasks
    near = difflib.get_close_matches(name, known, 3) or difflib.get_close_matches(f"cti_{name}", known, 3)
    raise EditError(f"no task is called {printable(name)!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))


def _check_single(name: str, manager: TaskManager) -> None:
    """Refuse a group or a tag."""
    if name in manager.all_subtasks:
        return
    entry = manager.task_index[name]
    listed = (entry.cfg or {}).get("task") or sorted(entry.tags)
    members = [member for member in ([listed] if isinstance(listed, str) else listed) if isinstance(member, str)]
    raise EditError(
        f"{printable(name)} is a group of tasks; a search needs one task"
        + (f", such as {printable(members[0])}" if members else "")
    )


def _check_kind(name: str, kind: Kind, manager: TaskManager) -> None:
    """Refuse a task whose file says that its prompt is for the other kind of model."""
    metadata = (manager.task_index[name].cfg or {}).get("metadata")
    wanted = metadata.get("model_kind") if isinstance(metadata, dict) else None
    if wanted not in ("causal", "masked") or (wanted == "masked") == (kind == "masked"):
        return
    other = name.removesuffix("_masked") if wanted == "masked" else f"{name}_masked"
    raise EditError(
        f"{printable(name)} is for {wanted} language models and this one is {kind}"
        + (f"; use {printable(other)}" if other in manager.task_index else "")
    )


def refuse_other_kind(requests: Sequence[Instance], kind: Kind) -> None:
    """Refuse requests of a bundled task whose prompts are for the other kind of model: its figures would mean nothing.

    Raises:
        EditError: the requests are of such a task; the message names the right one. Inside the ``lm_eval`` command, one
            line and exit code 2 instead.
    """
    with one_line_in_command():
        for name in sorted({str(request.task_name) for request in requests}):
            wanted = "masked" if name.endswith("_masked") else "causal"
            other = name.removesuffix("_masked") if wanted == "masked" else f"{name}_masked"
            if (wanted == "masked") == (kind == "masked") or other not in _bundled_tasks():
                continue
            raise EditError(
                f"{printable(name)} is for {wanted} language models and this one is {kind}; use {printable(other)}"
            )


@cache
def _bundled_tasks() -> frozenset[str]:
    return frozenset(path.stem for path in folder("tasks").rglob("cti_*.yaml"))
