"""What a manifest records of how a search asked, and on which rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cti_edits.artifact.asked import Asked, AskedTask
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.metrics import NO_FILTER
from cti_edits.harness.row_hashes import joined

MAX_ROWS = 80_000
"""So many rows are recorded one by one; a manifest has room for no more."""


def what_was_asked(lm: EditedHFLM, calibration: CalibrationSet, drawn: CalibrationSet) -> dict[str, Any]:
    """The manifest's ``search.asked`` and ``search.row_hashes``.

    Args:
        lm: the model.
        calibration: the rows that every candidate was evaluated on.
        drawn: the rows that the gradients were taken on; often the same.
    """
    model = lm.asked()
    task = calibration.task
    version = getattr(task, "VERSION", None)
    asked = Asked(
        model.model,
        calibration.prompting.asked(task, model.prompt),
        AskedTask(
            task=calibration.name,
            version=None if version is None else str(version),
            metric=calibration.metric.name,
            filter=None if calibration.metric.filter == NO_FILTER else calibration.metric.filter,
            rows_sha256=_together(calibration.row_hashes),
            prompts_sha256=_together(calibration.prompt_hashes),
        ),
    )
    seen = frozenset((*calibration.row_hashes, *drawn.row_hashes))
    rows = {"row_hashes": joined(seen)} if len(seen) <= MAX_ROWS else {}
    return {**rows, "asked": asked.to_json()}


def _together(hashes: Sequence[str]) -> str:
    return hashlib.sha256(",".join(hashes).encode()).hexdigest()
