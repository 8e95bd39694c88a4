"""The files that a search's edit, and the page about it, go to."""

from __future__ import annotations

from pathlib import Path

from cti_edits.errors import EditError, printable
from cti_edits.search.search_log import log_path


def default_output(name: str) -> Path:
    """``edits/gptj_fever.json``.

    Raises:
        EditError: that file exists, and no search log beside it: it may be a published edit.
    """
    target = Path("edits") / f"{name}.json"
    if target.exists() and not log_path(target).exists():
        raise EditError(f"{printable(target)} is there already; name the file to write with --output")
    return target


def page_beside(edit: Path) -> Path:
    """``edits/gptj_fever.html`` for ``edits/gptj_fever.json``."""
    return edit.with_suffix(".html") if edit.suffix == ".json" else edit.with_name(f"{edit.name}.html")
