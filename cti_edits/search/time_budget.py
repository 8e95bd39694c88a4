"""How long a search may take."""

from __future__ import annotations

import math
import re
import time

from cti_edits.errors import EditError, printable

UNITS = {"s": 1, "m": 60, "h": 3600}
MAX_SECONDS = 366 * 24 * 3600


def seconds_of(text: str) -> float:
    """The seconds of "90", "90s", "10m" or "1.5h".

    Raises:
        EditError: it is something else, or no time at all.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text, re.ASCII)
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found is not None else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise EditError(f"time_budget: expected a time such as 90s, 10m or 1.5h, got {printable(text)!r}")
    return seconds


class TimeBudget:
    """Time that is running out.

    Attributes:
        seconds: how much there was; infinite for a search that takes as long as it takes.
        cut: whether something was left out for it.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """Begin to count."""
        self.seconds = math.inf if seconds is None else seconds
        self.cut = False
        self._began = time.monotonic()

    def over(self) -> bool:
        """Asked before the next step of those that can be left out; what is left out then is said to be cut."""
        if time.monotonic() - self._began >= self.seconds:
            self.cut = True
            return True
        return False
