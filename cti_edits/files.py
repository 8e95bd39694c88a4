"""Files and folders that are there when they are complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from cti_edits.errors import MAX_SHOWN_PATH, EditError, WriteError, printable


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``, which becomes it if all goes well and is gone if not.

    Raises:
        EditError: ``target`` is something else than an empty folder.
        WriteError: it cannot be written.
    """
    shown = printable(target, MAX_SHOWN_PATH)
    temporary = target.parent / f".cti-edits-{secrets.token_hex(8)}.tmp"
    try:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise EditError(f"{shown}: expected a folder that is not there yet, or is empty")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        files = [path for path in temporary.rglob("*") if path.is_file()]
        for path in files:
            # Some libraries write files that nobody else can read.
            path.chmod(temporary.stat().st_mode & 0o666)
        for path in [*files, temporary]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        # On an empty folder too; one that got files meanwhile is an error.
        temporary.rename(target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{shown}: cannot write here: {printable(reason)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(target: Path) -> None:
    """Refuse a place where a file cannot be written, before hours of work end there; leaves nothing behind.

    Folders that are missing are created.

    Raises:
        WriteError: the folder cannot be written to, or ``target`` is there and is no regular file.
    """
    with _beside(target) as temporary:
        temporary.open("xb").close()


def write_atomically(target: Path, content: bytes) -> None:
    """Put ``content`` at ``target`` by way of a temporary file in the same folder, which is created if need be.

    Raises:
        WriteError: the folder or the file cannot be written, or ``target`` is there and is no regular file.
    """
    with _beside(target) as temporary:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """The name of a temporary file beside ``target``, which is gone afterwards."""
    temporary = target.parent / f".cti-edits-{secrets.token_hex(8)}.tmp"
    shown = printable(target, MAX_SHOWN_PATH)
    try:
        # A rename would put a plain file in the place of a device, a pipe or a folder.
        if target.exists() and not target.is_file():
            raise WriteError(f"{shown}: expected the name of a file to write, got something that is no regular file")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{shown}: cannot write here: {reason}") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
