"""``cti-edits export``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cti_edits.cli import completion
from cti_edits.cli.search_options import Architecture
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable

if TYPE_CHECKING:
    from cti_edits.models.export import Format

Option = typer.Option

RESULTS = "every-eval-ever"
"""The format that no model is read for."""


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
        str,
        Option(
            metavar="FORMAT",
            help="checkpoint; peft: a LoRA adapter of the base model; every-eval-ever: the results on held-out rows.",
        ),
    ] = "checkpoint",
    repository: Annotated[
        str | None,
        Option(
            metavar="OWNER/NAME", help="What the edited model is called in results.", show_default="FILE's, on the hub"
        ),
    ] = None,
    architecture: Architecture = None,
) -> None:
    """Write a checkpoint folder with the edit applied, for any engine that loads safetensors; or a LoRA adapter.

    Or the results on held-out rows, in Every Eval Ever's format: of the manifest alone, and --model is what the base
    model is called there.
    """
    if format == RESULTS:
        if given := [
            name
            for name, value in (("revision", revision), ("subfolder", subfolder), ("architecture", architecture))
            if value
        ]:
            raise EditError(f"{given[0]}: --format {RESULTS} reads the manifest alone")
        _export_results(file, out, repository, model)
        return
    if repository is not None:
        raise EditError(f"repository: only together with --format {RESULTS}")
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
        message = message.replace("expected checkpoint or peft", f"expected checkpoint, peft or {RESULTS}")
        raise EditError(message) from None
    how = "verified" if done.verified else "base not verified"
    print(f"{printable(out)}: safetensors files {len(done.files)}, edited tensors {len(done.edited)}, {how}")


def _export_results(file: str, out: Path, repository: str | None, model: str | None) -> None:
    from cti_edits.hub.references import hub_reference, load_edit
    from cti_edits.report.every_eval_ever import write_evaluations

    found = hub_reference(file)
    called = found.repository if repository is None and found is not None else repository
    written = write_evaluations(load_edit(file), file, called, model, out)
    for path in written:
        print(printable(path, MAX_SHOWN_PATH))
    print("of the base model and of the edited one; a manifest has no answers to single rows")
