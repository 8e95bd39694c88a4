"""Where a search says how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Where a search says how far it is."""

    def phase(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A phase of ``total`` steps; the function inside is told how many more steps are done."""

    def note(self, what: str) -> None:
        """A line that a person should know of."""


class Silent:
    """Says nothing."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """See `Progress`."""
        yield lambda _: None

    def note(self, what: str) -> None:
        """See `Progress`."""
