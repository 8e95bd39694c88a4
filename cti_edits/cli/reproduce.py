"""``cti-edits reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.cli import completion, options
from cti_edits.cli import search_options as of
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.quiet import quiet


def reproduce(
    file: Annotated[
        str,
        completion.edit_argument("EDIT"),
    ],
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id.", show_default="the edit's base model")
    ] = None,
    model_args: of.ModelArgs = "",
    rows: Annotated[
        Path | None, typer.Option("--data", help="Of a search on rows of your own: these.", show_default=False)
    ] = None,
    test_rows: Annotated[
        Path | None, typer.Option("--test-data", help="Likewise, those of --test-data.", show_default=False)
    ] = None,
    include_path: of.IncludePath = None,
    metadata: of.Metadata = "",
    guard: Annotated[
        str | None, typer.Option(metavar="TASK|FILE", help="The text of --guard.", show_default="the recorded one")
    ] = None,
    device: of.Device = None,
    output: Annotated[Path | None, typer.Option(help="Where what is found now goes.", show_default="nowhere")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the search of EDIT again as its manifest records it, and say what is the same.

    The manifest is the same to the byte, or the change of the matrices is, or all accuracies are within the recorded
    intervals: exit code 0. Else 1, with what is not as it was recorded: rows, base model, versions, device.
    """
    quiet()
    from cti_edits.artifact.manifest import Edit
    from cti_edits.cli.json_records import Reproduced
    from cti_edits.cli.progress import TerminalProgress
    from cti_edits.files import check_writable
    from cti_edits.harness.own_rows import read_own_rows
    from cti_edits.hub.references import load_edit
    from cti_edits.report.reproduction import print_reproduction
    from cti_edits.search.reproduce import NotRecorded
    from cti_edits.search.reproduce import reproduce as run_again

    edit: Edit = load_edit(file)
    given = NotRecorded(
        model,
        options.arguments("model_args", model_args),
        None if rows is None else read_own_rows(rows),
        None if test_rows is None else read_own_rows(test_rows),
        None if include_path is None else str(include_path),
        options.arguments("metadata", metadata),
        guard,
        device,
    )
    if output is not None:
        check_writable(output)
    found = run_again(edit, file, given, TerminalProgress())
    if output is not None and found.edit is not None:
        found.edit.write(output)
    if as_json:
        print_json(Reproduced.of(edit.digest(), found))
    else:
        print_reproduction(found)
    raise typer.Exit(1 if found.grade == "not reproduced" else 0)
