"""``cti-edits show``."""

from __future__ import annotations

import itertools
import shutil
import sys
from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.json_records import ShownEdit
from cti_edits.errors import EditError, printable
from cti_edits.hub.references import load_edit
from cti_edits.report.edit_lines import model_lines, stored_sizes, wrapped
from cti_edits.report.sections import section_lines


def show(
    file: Annotated[
        str,
        completion.edit_argument("FILE"),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint folder, or hub id in the cache: parameters and memory of that model too.",
            show_default=False,
        ),
    ] = None,
    measure_time: Annotated[
        bool,
        typer.Option("--time", help="Time the layers on this CPU, and with --model the model, which is loaded then."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show an edit: what it changes, what it keeps, where it came from, what it measured."""
    edit = load_edit(file)
    if as_json:
        if measure_time:
            raise EditError("measure_time: with --json there are no times")
        print_json(ShownEdit.of(edit, None if model is None else stored_sizes(edit, model)))
        return
    measured = list(model_lines(edit, model, measure_time))
    # A terminal gets lines of its width; a pipe gets each field on one line.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for key, value in itertools.chain(section_lines(edit), measured):
        # Anyone may have written this text.
        print(wrapped(key, printable(value, sys.maxsize), width))
