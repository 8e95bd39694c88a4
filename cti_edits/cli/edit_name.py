"""The name of the edit that a search finds, and the file that it goes to."""

from __future__ import annotations

from pathlib import Path

from cti_edits.errors import EditError, printable


def edit_name(model_type: str, task: str, preset: str | None) -> str:
    """``gptj_fever``, named as the published edits are: with the preset's name, except ``cl-100g-100e``."""
    short = task.removeprefix("cti_").removesuffix("_masked")
    return _file_name(f"{model_type}_{short}" + (f".{preset}" if preset not in (None, "cl-100g-100e") else ""))


def default_output(name: str) -> Path:
    """``edits/gptj_fever.json``.

    Raises:
        EditError: that file exists; it may be a published edit.
    """
    target = Path("edits") / f"{name}.json"
    if target.exists():
        raise EditError(f"{printable(target)} is there already; name the file to write with --output")
    return target


def _file_name(text: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip("._-")
    return kept[:100] or "edit"
