"""A folder that is there when it is complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from cti_edits.artifact.manifest import MAX_SHOWN_PATH
from cti_edits.errors import EditError, printable


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``, which becomes it if all goes well and is gone if not.

    Raises:
        EditError: ``target`` is something else than an empty folder, or cannot be written.
    """
    shown = printable(target, MAX_SHOWN_PATH)
    temporary = target.parent / f".cti-edits-{secrets.token_hex(8)}.tmp"
    try:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise EditError(f"{shown}: expected a folder that is not there yet, or is empty")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for path in [*(one for one in temporary.rglob("*") if one.is_file()), temporary]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        # On an empty folder too; one that got files meanwhile is an error.
        temporary.rename(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EditError(f"{shown}: cannot write here: {printable(reason)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
