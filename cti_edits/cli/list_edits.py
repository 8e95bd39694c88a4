"""``cti-edits ls``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.matrix_edits import BlockSvdEdit
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.json_records import ListedEdit
from cti_edits.errors import EditError, ManifestError, printable
from cti_edits.paths import folder as shipped_folder
from cti_edits.report.listing import print_listing

HEADINGS = ("edit", "task", "model", "matrix", "layer", "ρ", "K", "digest", "accuracy")


def list_edits(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="A folder with more edits, listed as well.", show_default=False),
    ] = None,
    shipped: Annotated[bool, typer.Option(help="List the edits that come with cti-edits.")] = True,
    as_json: AsJson = False,
) -> None:
    """List the edits that come with cti-edits and those in FOLDER. Exit code 2 if a file there is not valid."""
    folders = [shipped_folder("edits")] if shipped else []
    if folder is not None:
        if not folder.is_dir():
            raise EditError(f"{printable(folder)}: expected a folder with edit manifests")
        if folder.resolve() not in [one.resolve() for one in folders]:
            folders.append(folder)
    rows: list[tuple[str, ...]] = []
    wrong: list[ManifestError] = []
    for place in folders:
        for path in sorted(place.glob("*.json"), key=lambda path: path.stem):
            try:
                edit = load(path)
            except ManifestError as error:
                wrong.append(error)
            else:
                if as_json:
                    print_json(ListedEdit.of(path, edit))
                rows.append(_row(path.stem if place is not folder else str(path), edit))
    if rows and not as_json:
        print_listing(HEADINGS, rows, right=("layer", "ρ", "K"))
    if not as_json and folder is not None and next(folder.glob("*.json"), None) is None:
        print(f"{printable(folder)}: no edits here")
    for refusal in wrong:
        print(f"cti-edits: error: {refusal}", file=sys.stderr)
    if wrong:
        raise typer.Exit(2)


def _row(name: str, edit: Edit) -> tuple[str, ...]:
    return (
        name,
        edit.task.name if edit.task else "",
        edit.base_model.id,
        *_what(edit),
        edit.digest()[:12],
        _accuracy(edit),
    )


def _what(edit: Edit) -> tuple[str, str, str, str]:
    """Matrix, layer, and of a rank cut ρ and K; of several edits their number, of none "none"."""
    if not edit.edits:
        return "none", "", "", ""
    if len(edit.edits) > 1:
        return f"{len(edit.edits)} matrices", "", "", ""
    one = edit.edits[0]
    if not isinstance(one, BlockSvdEdit):
        return one.matrix, one.id.place, "", ""
    return one.matrix, one.id.place, f"{one.rho:g}", str(one.clusters)


def _accuracy(edit: Edit) -> str:
    """Whether the accuracies were measured, on which rows, and what they are worth; or only reported."""
    results = edit.results
    verdict = None if results.test is None else results.test.verdict()
    for found, how in (
        (results.test, "measured, test" + (f": {verdict.word}" if verdict else "")),
        (results.confirmation, "measured on rows that chose it among few"),
        (results.calibration, "measured on rows that chose it: flattered"),
        (results.reported, "reported"),
    ):
        if found is not None:
            return f"{100 * found.baseline:.1f} → {100 * found.edited:.1f} % ({how})"
    return "neither measured nor reported"
