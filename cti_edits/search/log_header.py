"""What a search log says was asked: everything that the figures of a search depend on. No figure of it is used again
where any of it differs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from importlib.metadata import version
from typing import Any

from cti_edits.artifact.asked import Asked
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.other_text import OtherText
from cti_edits.search.settings import SearchSettings
from cti_edits.version import __version__

PACKAGES = ("lm_eval", "torch", "transformers")


def log_header(
    asked: Asked,
    settings: SearchSettings,
    rows: dict[str, CalibrationSet | None],
    guard: OtherText | None,
    **other: str | int | bool | None,
) -> dict[str, Any]:
    """The header of a search log, as JSON.

    Args:
        asked: the model, the prompts and the task.
        settings: what is tried.
        rows: the examples of each stage.
        guard: the text that the winner is compared on.
        other: what else there is to ask, under its own name.
    """
    return {
        **other,
        **asked.to_json(),
        "rows": {name: None if part is None else _hash(",".join(part.row_hashes)) for name, part in rows.items()},
        "guard": None if guard is None else _hash(guard.text),
        "settings": dataclasses.asdict(settings),
        "versions": {"cti_edits": __version__, **{package: version(package) for package in PACKAGES}},
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
