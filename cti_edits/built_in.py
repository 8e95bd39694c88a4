"""The parts that come with cti-edits, through the same hooks as those of any plugin (hookspecs.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cti_edits.hookspecs import hookimpl

if TYPE_CHECKING:
    from cti_edits.methods.method import MethodPart
    from cti_edits.report.sections import ReportSection
    from cti_edits.search.partitions import Partition
    from cti_edits.search.presets import Preset
    from cti_edits.search.scorers import Scorer
    from cti_edits.search.selectors import Selector


@hookimpl
def methods() -> Sequence[MethodPart]:
    """Rank cuts of row blocks, and directions."""
    from cti_edits.methods.method import METHODS

    return METHODS


@hookimpl
def scorers() -> Sequence[Scorer]:
    """The paper's, and those that studies compare it with."""
    from cti_edits.search.scorers import SCORERS

    return SCORERS


@hookimpl
def partitions() -> Sequence[Partition]:
    """Consecutive rows, K-subspaces and k-means."""
    from cti_edits.search.partitions import PARTITIONS

    return PARTITIONS


@hookimpl
def selectors() -> Sequence[Selector]:
    """The paper's."""
    from cti_edits.search.selectors import SELECTORS

    return SELECTORS


@hookimpl
def presets() -> Sequence[Preset]:
    """The paper's nine systems, two searches of directions, and LASER's composition."""
    from cti_edits.search.presets import COMPOSE_PRESETS, DIRECTION_PRESETS, PRESETS

    return (*PRESETS.values(), *DIRECTION_PRESETS, *COMPOSE_PRESETS)


@hookimpl
def task_folders() -> str:
    """The tasks that come with the package."""
    from cti_edits.paths import folder

    return str(folder("tasks"))


@hookimpl
def architecture_folders() -> str:
    """The data files that come with the package."""
    return str(Path(__file__).parent / "models" / "architectures")


@hookimpl
def report_sections() -> Sequence[ReportSection]:
    """What a manifest says."""
    from cti_edits.report.sections import SECTIONS

    return SECTIONS
