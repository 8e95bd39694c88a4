"""How a command ends whose work is kept in a file, when it is stopped or the machine gives out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from cti_edits.errors import MAX_SHOWN_PATH, MachineError, printable

INTERRUPTED = 130


@contextlib.contextmanager
def going_on(path: Path, begun: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Inside, an early end is told in one line that says where the work is, and that the same command goes on there.

    Args:
        path: the file that has what is finished.
        begun: whether it has anything.

    Raises:
        MachineError: the memory is exhausted, or a device is lost.
        typer.Exit: somebody interrupted it.
    """
    finished = f"{printable(path, MAX_SHOWN_PATH)} has what is finished, and the same command goes on there"
    try:
        yield
    except KeyboardInterrupt:
        if not begun():
            raise
        print(f"interrupted; {finished}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except (MachineError, MemoryError, RuntimeError) as error:
        from cti_edits.replay.memory import machine_gave_out

        why = machine_gave_out(error)
        if why is None:
            raise
        raise MachineError(f"{why}; {finished}" if begun() else why) from None
