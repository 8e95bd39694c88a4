"""``cti-edits push``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cti_edits.cli import completion
from cti_edits.errors import printable

Option = typer.Option


def push(
    file: Annotated[
        str,
        completion.edit_argument("FILE", "An edit: file or folder."),
    ],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the hub.", show_default=False)],
    base_model: Annotated[
        str | None, Option(help="Hub id of the base model, where the edit names a folder.", show_default=False)
    ] = None,
    license: Annotated[  # noqa: A002 (the option is named as the hub names it)
        str | None, Option(help="The hub's name of a licence, apache-2.0.", show_default="none is named")
    ] = None,
    revision: Annotated[str | None, Option(help="Branch to upload to.", show_default="main")] = None,
    private: Annotated[bool, Option("--private", help="Make the repository private if it is new.")] = False,
    dry_run: Annotated[
        Path | None, Option(metavar="DIR", help="Write the files there and upload nothing.", show_default=False)
    ] = None,
) -> None:
    """Share an edit on the Hugging Face hub: its manifest, its files of factors and a model card."""
    from cti_edits.hub.references import manifest_path
    from cti_edits.hub.repositories import prepare, push, shareable
    from cti_edits.report.model_card import model_card

    manifest = manifest_path(file)
    edit = shareable(manifest, repository, base_model)
    card = model_card(edit, repository + (f"@{revision}" if revision else ""), license)
    if dry_run is not None:
        for path in prepare(edit, manifest, card, dry_run):
            print(printable(path, 4096))
        return
    with tempfile.TemporaryDirectory(prefix="cti-edits-") as folder:
        files = prepare(edit, manifest, card, Path(folder))
        commit = push(files, repository, f"{edit.name}, digest {edit.digest()[:12]}", private, revision)
    print(f"{printable(repository)}: {len(files)} files, commit {printable(commit)}, digest {edit.digest()}")
