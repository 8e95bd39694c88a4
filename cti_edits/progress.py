"""Where a search says how far it is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Where a search says how far it is."""

    def phase(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A phase of ``total`` steps; the function inside is told how many more steps are done."""

    def note(self, what: str) -> None:
        """A line that a person should know of."""

    def leader(self, what: str) -> None:
        """What leads so far. The last that is said before a phase ends is the last that counts."""


class Silent:
    """Says nothing."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """See `Progress`."""
        yield lambda _: None

    def note(self, what: str) -> None:
        """See `Progress`."""

    def leader(self, what: str) -> None:
        """See `Progress`."""


class Bars:
    """Progress bars in a notebook or on a terminal; nothing where stderr is neither."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of ``total`` steps."""
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        shown = sys.stderr.isatty() or "ipykernel" in sys.modules
        with tqdm(total=total, desc=what, disable=not shown) as bar:

            def advance(steps: int) -> None:
                bar.update(steps)

            yield advance

    def note(self, what: str) -> None:
        """A line on stderr."""
        print(what, file=sys.stderr, flush=True)

    def leader(self, what: str) -> None:
        """Nothing: a notebook has one line for a bar."""
