"""``cti-edits compare``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.errors import EditError, printable


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASELINE RUN...",
            help="--output_path of two or more runs, the base model's first.",
            show_default=False,
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            help="One that is 0 or 1 for each example, NAME or NAME,FILTER.", show_default="the edit's, else acc"
        ),
    ] = None,
    allow_different: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Compare although this was asked differently.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare lm_eval runs with --log_samples, example by example: accuracies, intervals, majority class.

    Runs that differ in more than the edit (few-shot count, chat template, base model, dtype) are refused.
    """
    from cti_edits import api
    from cti_edits.harness.comparison import FIELDS, SettingsDifferError
    from cti_edits.report.comparison import print_comparison

    if len(runs) < 2:
        raise EditError("RUN: expected two or more runs to compare, got one")
    for name in allow_different or ():
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 3, 0.4) or FIELDS
            raise EditError(
                f"--allow-different: no field is called {printable(name)!r}; did you mean {', '.join(near)}?"
            )
    try:
        compared = api.compare(*runs, metric=metric, allow_different=allow_different or ())
    except SettingsDifferError as error:
        allowing = " ".join(f"--allow-different {name}" for name in error.differing)
        raise EditError(f"{error}; run both alike, or compare all the same with {allowing}") from None
    for comparison in compared.values():
        if as_json:
            print_json(comparison)
        else:
            print_comparison(comparison)
