"""Checks every known type of model on a tiny one and prints the table of docs/architectures.md.

    python -m studies.architectures [TYPE…]

A type that fails has its error in the table, and the exit code is 1.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

from studies.architecture_checks import Checked, check
from studies.tiny import TINY

HEADINGS = ("type", "kind", "what", "stacks", "roles", "experts", "evaluator", "seconds", "everything equal")


def cells(checked: Checked) -> tuple[str, ...]:
    """The table's line of a type."""
    return (
        f"`{checked.model_type}`",
        checked.kind,
        checked.group,
        ", ".join(checked.stacks),
        ", ".join(checked.roles),
        str(checked.experts or ""),
        checked.evaluator + (f": {checked.reason}" if checked.reason else ""),
        f"{checked.seconds:.1f}",
        "yes",
    )


def failed(model_type: str, error: Exception) -> tuple[str, ...]:
    """The line of a type on which something is wrong."""
    tiny = TINY[model_type]
    why = (str(error).splitlines() or [""])[0]
    return (f"`{model_type}`", tiny.kind, tiny.group, "", "", "", "", "", f"no: {type(error).__name__}: {why}")


def main() -> None:
    """Check the types that are named, or all."""
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + " --- |" * len(HEADINGS))
    good = True
    for model_type in sys.argv[1:] or TINY:
        with tempfile.TemporaryDirectory() as folder:
            try:
                line = cells(check(TINY[model_type], Path(folder)))
            except Exception as error:
                line, good = failed(model_type, error), False
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |", flush=True)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
