"""The name of the folder where lm-eval writes the results of a model with an edit.

lm-eval names it after the first of ``peft``, ``delta``, ``pretrained`` … among the model's arguments, and at random
where there is none. With ``edit=FILE`` alone the name would be new in each run; with ``pretrained`` too, it would be
the base's for every edit. A model cannot tell lm-eval its name, so that lm-eval's tracker is wrapped, for the model
``cti`` with an edit only.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval.loggers.evaluation_tracker import GeneralConfigTracker
from lm_eval.utils import sanitize_model_name, simple_parse_args_string

from cti_edits.harness.edit_argument import read_edits

LONGEST = 200
"""Bytes of a folder's name; file systems take 255."""


def results_name(model_args: str | Mapping[str, Any]) -> str | None:
    """The name of the results of a model with an edit: base, then the edit's name and the first digits of its digest.

    Args:
        model_args: as lm-eval takes them.

    Returns:
        The name; None without an edit, where lm-eval's own will do.

    Raises:
        EditError: the edit cannot be read.
    """
    arguments = simple_parse_args_string(model_args) if isinstance(model_args, str) else model_args
    argument = arguments.get("edit")
    if argument is None:
        return None
    edit = read_edits(argument).edit
    base = next((arguments[key] for key in ("peft", "delta", "pretrained") if arguments.get(key)), None)
    if base is None:
        # The digest is over the whole path.
        base = Path(edit.base_model.id).name if Path(edit.base_model.id).is_dir() else edit.base_model.id
    base = base if isinstance(base, str) else type(base).__name__
    named = f"{edit.name}-{edit.digest()[:12]}"
    if len(sanitize_model_name(f"{base}/{named}").encode()) > LONGEST:
        base = f"{Path(base).name[:30]}-{hashlib.sha256(base.encode()).hexdigest()[:12]}"
    return f"{base}/{named}"


def name_results_after_edits() -> None:
    """Let lm-eval's tracker name the results of ``cti`` with an edit by `results_name`. A second call does nothing."""
    log = GeneralConfigTracker.log_experiment_args
    if hasattr(log, "__wrapped__"):
        return

    @functools.wraps(log)
    def log_experiment_args(tracker: Any, model_source: str, model_args: Any, *others: Any, **named: Any) -> None:
        log(tracker, model_source, model_args, *others, **named)
        if model_source == "cti" and (name := results_name(model_args)):
            tracker.model_name = name
            tracker.model_name_sanitized = sanitize_model_name(name)

    GeneralConfigTracker.log_experiment_args = log_experiment_args
