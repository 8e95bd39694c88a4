"""``cti-edits export``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cti_edits.cli import completion
from cti_edits.cli.search_options import Architecture
from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.models.export import Format

Option = typer.Option


def export(
    file: Annotated[
        str,
        completion.edit_argument("FILE"),
    ],
    out: Annotated[Path, Option(help="A new folder, or an empty one.", show_default=False)],
    model: Annotated[
        str | None, Option(help="Checkpoint folder or hub id of the base model.", show_default="the edit's")
    ] = None,
    revision: Annotated[str | None, Option(help="Of the base model, on the hub.", show_default="the edit's")] = None,
    subfolder: Annotated[
        str | None, Option(help="Of the base model, with its config and weights.", show_default="the edit's")
    ] = None,
    verify: Annotated[bool, Option(help="Refuse a base whose hash differs.")] = True,
    format: Annotated[  # noqa: A002 (what it is called everywhere)
        str, Option(metavar="FORMAT", help="checkpoint, or peft: a LoRA adapter of the base model.")
    ] = "checkpoint",
    architecture: Architecture = None,
) -> None:
    """Write a checkpoint folder with the edit applied, for any engine that loads safetensors; or a LoRA adapter."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # What is half written goes away on a polite kill too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    from cti_edits import api
    from cti_edits.hub.references import load_edit
    from cti_edits.models.architectures import use_architecture

    if architecture is not None:
        use_architecture(architecture)
    try:
        # Another text is refused there.
        done = api.export(load_edit(file), out, model, revision, subfolder, verify, cast("Format", format))
    except EditError as error:
        message = str(error).replace("verify=false", "--no-verify").replace("format=checkpoint", "--format checkpoint")
        raise EditError(message) from None
    how = "verified" if done.verified else "base not verified"
    print(f"{printable(out)}: safetensors files {len(done.files)}, edited tensors {len(done.edited)}, {how}")
