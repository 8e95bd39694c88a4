"""``python -m cti_edits.paper [DIR]``: write the paper's edits, 48 manifests, to DIR (edits/ if left out)."""

from __future__ import annotations

import sys
from pathlib import Path

from cti_edits.errors import EditError, printable
from cti_edits.paper.published import edits


def write_all(folder: Path) -> list[Path]:
    """Write every published edit to ``folder`` and return the paths.

    Raises:
        ManifestError: the folder cannot be written to.
    """
    return [edit.write(folder / f"{edit.name}.json") for edit in edits()]


def main(words: list[str]) -> int:
    """Write the manifests; returns the exit code."""
    if len(words) > 1 or (words and words[0].startswith("-")):
        print("usage: python -m cti_edits.paper [DIR]", file=sys.stderr)
        return 2
    folder = Path(words[0]) if words else Path("edits")
    try:
        written = write_all(folder)
    except EditError as error:
        print(f"cti-edits: error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {len(written)} edits to {printable(folder)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
