"""``cti-edits tasks-path``."""

from __future__ import annotations

from cti_edits.paths import folder
from cti_edits.terminal import print_path


def tasks_path() -> None:
    """Print the folder with our tasks, for lm_eval's --include_path."""
    print_path(folder("tasks"))
