"""``cti-edits diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.report.listing import print_columns


def diff(
    left: Annotated[
        str,
        completion.edit_argument("A"),
    ],
    right: Annotated[str, completion.edit_argument("B", "Another one.")],
    as_json: AsJson = False,
) -> None:
    """Show in which fields two edits differ. Exit code 1 if they apply something else, 0 if not."""
    from cti_edits.artifact.differences import differences
    from cti_edits.hub.references import load_edit

    found = differences(load_edit(left), load_edit(right), whole=as_json)
    for one in found if as_json else ():
        print_json(one)
    if not found and not as_json:
        print("the same in every field")
    for applied, heading in () if as_json else ((True, "what is applied"), (False, "the rest")):
        rows = [(f"  {one.field}", one.left, one.right) for one in found if one.applied == applied]
        if rows:
            print_columns((heading, "A", "B"), rows)
        elif found:
            print(f"{heading}: the same")
    if any(one.applied for one in found):
        raise typer.Exit(1)
