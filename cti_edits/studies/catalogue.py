"""The studies by their names. No torch here: a study's own module is imported when it is asked for."""

from __future__ import annotations

import difflib
import pkgutil
from typing import TYPE_CHECKING

from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.studies.study import Study

NAMES = ("scorers", "last", "matrices", "samples", "sigma", "clusters", "partition")
"""Each is the name of its module in this room, which has it as ``STUDY``."""


def find_study(name: str) -> Study:
    """The study ``name``.

    Raises:
        EditError: there is none.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise EditError(f"name: expected one of {', '.join(NAMES)}, got {printable(name)!r}{meant}")
    study: Study = pkgutil.resolve_name(f"cti_edits.studies.{name}:STUDY")
    return study
