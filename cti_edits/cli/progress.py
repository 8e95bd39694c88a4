"""Progress for people: a bar with the time left on a terminal, quiet lines elsewhere. On stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cti_edits.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as Bar

QUIET_INTERVAL = 30.0
"""Seconds between two lines of one phase where stderr is not a terminal."""


class TerminalProgress:
    """See `cti_edits.progress.Progress`."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self._leader = ""
        self._told = time.monotonic()

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """What is going on while nobody knows for how long: something that moves on a terminal, nothing elsewhere."""
        if self.console.is_terminal:
            with self.console.status(f"{what} …"):
                yield
        else:
            yield

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A phase of ``total`` steps."""
        if self.console.is_terminal:
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description:<12}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            bar = Bar(*columns, console=self.console)
            task = bar.add_task(what, total=total)
            self._leader = ""
            with Live(get_renderable=lambda: self._shown(bar), console=self.console, refresh_per_second=10):
                yield lambda steps: bar.advance(task, steps)
            self._leader = ""
        else:
            yield from _quiet_lines(what, total)

    def note(self, what: str) -> None:
        """A line on stderr."""
        print(printable(what, 1000), file=sys.stderr, flush=True)

    def leader(self, what: str) -> None:
        """Under the bar on a terminal; elsewhere a line, now and then."""
        self._leader = printable(what, 1000)
        if not self.console.is_terminal and time.monotonic() - self._told >= QUIET_INTERVAL:
            self._told = time.monotonic()
            print(self._leader, file=sys.stderr, flush=True)

    def _shown(self, bar: Bar) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        return Group(bar, Text(self._leader)) if self._leader else bar


def _quiet_lines(what: str, total: int) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last >= QUIET_INTERVAL and done < total:
            last = now
            left = (now - start) / done * (total - done)
            print(f"{what}: {done} of {total}, about {left:.0f} s left", file=sys.stderr, flush=True)

    yield advance
    print(f"{what}: {done} of {total} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
