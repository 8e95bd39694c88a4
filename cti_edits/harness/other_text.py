"""Text that has nothing to do with a search's task, on which an edit is compared with its base.

The bundled one, neutral_text.txt, was written for the purpose: forty paragraphs on plain subjects.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cti_edits.errors import EditError, printable
from cti_edits.harness.calibration import draw, validation_row_count
from cti_edits.harness.tasks import load_task
from cti_edits.models.architectures import Kind

BUNDLED, NONE = "bundled", "none"

MAX_BYTES = 4_000_000
"""Of a file; no more than its first thousands of tokens are read."""

TASK_ROWS = 200
"""So many rows of a task are read, or all where there are fewer."""


@dataclass(frozen=True)
class OtherText:
    """A text, and what a manifest calls it.

    Attributes:
        name: "bundled", or a task's name, or a file's name and hash.
        text: the text.
    """

    name: str
    text: str


def other_text(what: str | None, include_path: str | None = None, kind: Kind = "causal") -> OtherText | None:
    """The text that a person asks for.

    Args:
        what: "bundled" (which None stands for), "none", a file, or a task, whose prompts and gold answers are read.
        include_path: a folder with more tasks.
        kind: which models a task's prompt is to be for.

    Returns:
        The text; None for "none".

    Raises:
        EditError: there is no such file or task, or it cannot be read.
    """
    if what == NONE:
        return None
    if what in (None, BUNDLED):
        return OtherText(BUNDLED, Path(__file__).with_name("neutral_text.txt").read_text(encoding="utf-8"))
    path = Path(str(what))
    if path.is_file():
        return _text_of_file(path)
    if path.suffix or len(path.parts) > 1:
        raise EditError(f"guard: {printable(what)}: no such file")
    try:
        return _text_of_task(str(what), include_path, kind)
    except EditError as error:
        near = difflib.get_close_matches(str(what), (BUNDLED, NONE), 1)
        raise EditError(f"guard: {error}" + (f"; or did you mean {near[0]}?" if near else "")) from None


def _text_of_file(path: Path) -> OtherText:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise EditError(f"guard: {printable(path)}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError:
        raise EditError(f"guard: {printable(path)}: expected text in UTF-8") from None
    if len(data) > MAX_BYTES:
        raise EditError(f"guard: {printable(path)}: expected at most {MAX_BYTES:,} bytes")
    if not text.strip():
        raise EditError(f"guard: {printable(path)}: expected text, got none")
    return OtherText(f"{printable(path.name)}, sha256 {hashlib.sha256(data).hexdigest()[:12]}", text)


def _text_of_task(name: str, include_path: str | None, kind: Kind) -> OtherText:
    """Prompts with their gold answers, drawn from a task's validation part."""
    task = load_task(name, include_path, kind)
    rows = draw(task, min(TASK_ROWS, validation_row_count(task)), seed=0)
    return OtherText(f"task {rows.name}", "\n\n".join(one.context + one.continuation for one in rows.gold))
