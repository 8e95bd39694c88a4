"""``cti-edits verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.search_options import Architecture
from cti_edits.errors import printable


def verify(
    file: Annotated[
        str,
        completion.edit_argument("FILE"),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder, GGUF file or hub id.", show_default="the edit's base model"),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of the model on the hub.", show_default=False)] = None,
    subfolder: Annotated[
        str | None, typer.Option(help="Of the model, with its config and weights.", show_default="the edit's")
    ] = None,
    architecture: Architecture = None,
    as_json: AsJson = False,
) -> None:
    """Check that MODEL is the base that the edit was made for; a line for each matrix.

    Reads the matrices concerned and loads no model. Exit code 0: it is; 1: it is not; 2: that cannot be told.
    """
    from cti_edits.cli.json_records import VerifiedMatrix
    from cti_edits.hub.references import load_edit
    from cti_edits.models.architectures import use_architecture
    from cti_edits.models.verify import base_checkpoint, exit_code
    from cti_edits.models.verify import verify as findings_of

    if architecture is not None:
        use_architecture(architecture)
    edit = load_edit(file)
    checkpoint = base_checkpoint(edit, model, revision, subfolder=subfolder)
    findings = []
    for finding in findings_of(edit, checkpoint):
        findings.append(finding)
        if as_json:
            print_json(VerifiedMatrix.of(finding))
            continue
        print(f"{finding.matrix_edit.module}: {finding.verdict}: {printable(finding.why, 2000)}", flush=True)
    if not findings and not as_json:
        print("ok: the edit changes no matrix and fits any base")
    if code := exit_code(findings):
        raise typer.Exit(code)
