"""Progress for people: a bar with the time left on a terminal, quiet lines elsewhere. On stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from cti_edits.errors import printable

QUIET_INTERVAL = 30.0
"""Seconds between two lines of one phase where stderr is not a terminal."""


class TerminalProgress:
    """See `cti_edits.progress.Progress`."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A phase of ``total`` steps."""
        if self.console.is_terminal:
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
            with Bar(*columns, console=self.console) as bar:
                task = bar.add_task(what, total=total)
                yield lambda steps: bar.advance(task, steps)
        else:
            yield from _quiet_lines(what, total)

    def note(self, what: str) -> None:
        """A line on stderr."""
        print(printable(what, 1000), file=sys.stderr, flush=True)


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
