"""``cti-edits architectures``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.cli.search_options import Architecture
from cti_edits.errors import MAX_SHOWN_PATH, EditError, printable

if TYPE_CHECKING:
    from cti_edits.models.architecture_tree import ArchitectureTree
    from cti_edits.models.detection.proposal import Proposal

Option = typer.Option


def architectures(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A checkpoint folder or hub id.", show_default=False)
    ] = None,
    revision: Annotated[str | None, Option(help="Of the model, on the hub.", show_default=False)] = None,
    subfolder: Annotated[str | None, Option(help="Of the model, with its config.", show_default=False)] = None,
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="Run the code that comes with the model.")
    ] = False,
    architecture: Architecture = None,
    write: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write the proposed architecture file of a model that is not known.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures that are known; or show where the matrices of MODEL are, from its config alone.

    For a model whose type no architecture file covers, one is proposed; nothing is used before it is given with
    --architecture.
    """
    if model is None:
        if given := [name for name, value in (("write", write), ("architecture", architecture)) if value is not None]:
            raise EditError(f"{given[0]}: expected a MODEL, too")
        _list(as_json)
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from cti_edits.harness.base_config import read_config
    from cti_edits.models.architecture_tree import architecture_tree
    from cti_edits.models.architectures import known_family, use_architecture
    from cti_edits.models.detection.proposal import propose
    from cti_edits.models.empty_model import empty_model, kind_of

    if architecture is not None:
        use_architecture(architecture)
    try:
        config = read_config(model, revision, {"trust_remote_code": trust_remote_code, "subfolder": subfolder})
    except EditError as error:
        raise EditError(str(error).replace("trust_remote_code=true", "--trust-remote-code")) from None
    model_type = str(config.model_type)
    kind = kind_of(config)
    family = known_family(model_type)
    if family is not None:
        if write is not None:
            raise EditError(f"write: {printable(model_type)} is known already, by the architecture {family.name}")
        _show(architecture_tree(empty_model(config, kind, trust_remote_code), family), model_type, as_json)
        return
    empty = empty_model(config, kind, trust_remote_code)
    proposal = propose(empty, config, kind)
    if write is not None:
        _write(proposal, write)
        return
    _show(architecture_tree(empty, proposal.family()), model_type, as_json, proposal, model)


def _list(as_json: bool) -> None:
    from cti_edits.models.architectures import families
    from cti_edits.report.architectures import family_json, print_families

    every = sorted({id(family): family for family in families().values()}.values(), key=lambda family: family.name)
    if as_json:
        print_json({"architectures": [family_json(family) for family in every]})
    else:
        print_families(every)


def _show(
    tree: ArchitectureTree, model_type: str, as_json: bool, proposal: Proposal | None = None, model: str = ""
) -> None:
    from cti_edits.report.architectures import print_tree, tree_json

    if as_json:
        found = tree_json(tree, model_type)
        found["architecture"] = tree.family.name if proposal is None else None
        if proposal is not None:
            found["proposal"] = proposal.content
            found["left_out"] = list(proposal.left_out)
        print_json(found)
        return
    if proposal is None:
        print_tree(tree, model_type)
        return
    print("No architecture file covers this model. Proposed, by what flows into what in it:")
    print_tree(tree, model_type)
    if proposal.left_out:
        print(f"Left out: {printable('; '.join(proposal.left_out), 2000)}.")
    file = f"{proposal.name}.json"
    print(
        f"To go on: cti-edits architectures {printable(model)} --write {file}, and if it is right, "
        f"--architecture {file} (with lm_eval, architecture={file} in --model_args)."
    )


def _write(proposal: Proposal, target: Path) -> None:
    from cti_edits.files import write_atomically

    if target.exists() or target.is_symlink():
        raise EditError(f"write: {printable(target, MAX_SHOWN_PATH)} is there already")
    write_atomically(target, proposal.to_text().encode())
    print(f"{printable(target, MAX_SHOWN_PATH)}: read it, and give it with --architecture")
