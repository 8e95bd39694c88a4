"""``cti-edits validate``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.json_records import ValidatedFile
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable
from cti_edits.hub.references import load_edit


def validate(
    files: Annotated[
        list[str],
        completion.edit_argument("FILE...", "Edit manifests."),
    ],
    as_json: AsJson = False,
) -> None:
    """Check edit manifests. One line a file; exit code 2 if any is not valid."""
    wrong = 0
    for file in files:
        try:
            edit = load_edit(file)
        except EditError as error:
            wrong += 1
            print(f"cti-edits: error: {error}", file=sys.stderr)
            if as_json:
                print_json(ValidatedFile(file, valid=False, error=str(error)))
            continue
        if as_json:
            print_json(ValidatedFile(file, True, edit.name, edit.digest()))
        else:
            print(f"{printable(file, MAX_SHOWN_PATH)}: valid, {edit.name}, digest {edit.digest()}")
    if wrong:
        raise typer.Exit(2)
