"""``cti-edits tasks-path``."""

from __future__ import annotations

from cti_edits.paths import folder


def tasks_path() -> None:
    """Print the folder with our tasks, for lm_eval's --include_path."""
    print(folder("tasks"))
