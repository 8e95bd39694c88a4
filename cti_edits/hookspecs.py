"""What a plugin of cti-edits can add (pluggy). A plugin is a module named in the entry-point group ``cti_edits``.

docs/plugins.md has a section with an example for each hook. A new kind of part is a function here, a line in `HOMES`,
and the same function in built_in.py for what comes with the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from cti_edits.methods.method import MethodPart
    from cti_edits.report.sections import ReportSection
    from cti_edits.search.partitions import Partition
    from cti_edits.search.presets import Preset
    from cti_edits.search.scorers import Scorer
    from cti_edits.search.selectors import Selector

hookspec = pluggy.HookspecMarker("cti_edits")
hookimpl = pluggy.HookimplMarker("cti_edits")

HOMES: Mapping[str, str] = {
    "methods": "cti_edits.methods.method:MethodPart",
    "scorers": "cti_edits.search.scorers:Scorer",
    "partitions": "cti_edits.search.partitions:Partition",
    "selectors": "cti_edits.search.selectors:Selector",
    "presets": "cti_edits.search.presets:Preset",
    "report_sections": "cti_edits.report.sections:ReportSection",
}
"""From each hook that gives named parts to the class that they are of."""

FOLDERS: Mapping[str, str] = {
    "architecture_folders": "cti_edits.models.architectures:read_folder",
    "task_folders": "cti_edits.paths:check_task_folder",
}
"""From each hook that gives a folder to the function that refuses one that is wrong."""


@hookspec
def methods() -> Sequence[MethodPart]:  # type: ignore[empty-body]
    """Ways to make Ŵ of W, each with the edits that a search tries."""


@hookspec
def scorers() -> Sequence[Scorer]:  # type: ignore[empty-body]
    """Ways to score a matrix by its singular values and their gradients."""


@hookspec
def partitions() -> Sequence[Partition]:  # type: ignore[empty-body]
    """Ways to assign the rows of a matrix to blocks."""


@hookspec
def selectors() -> Sequence[Selector]:  # type: ignore[empty-body]
    """Ways to say which matrices are tried, by their scores, and which outcome wins."""


@hookspec
def presets() -> Sequence[Preset]:  # type: ignore[empty-body]
    """Searches under a name."""


@hookspec
def task_folders() -> str:  # type: ignore[empty-body]
    """A folder of lm-eval task files, like those in tasks/."""


@hookspec
def architecture_folders() -> str:  # type: ignore[empty-body]
    """A folder of architecture data files, ``<family>.json``, like those in cti_edits/models/architectures/."""


@hookspec
def report_sections() -> Sequence[ReportSection]:  # type: ignore[empty-body]
    """Lines about an edit that ``cti-edits show`` prints."""
