"""An architecture file for a model that no file covers, proposed from its modules and what flows into what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cti_edits.errors import FitError, printable
from cti_edits.models.architectures import Family, Kind, made_family
from cti_edits.models.detection.blocks import BlockList, block_lists, roles_of
from cti_edits.models.detection.columns import Columns
from cti_edits.models.detection.flow import Flow, Source, trace
from cti_edits.models.detection.fused import Shares, shares_of

SEQUENCE = 8
"""Tokens that go through the model."""

Roles = dict[str, tuple[Source, ...]]
"""From each role to what has it inside a block; where blocks differ, several."""


@dataclass(frozen=True)
class Proposal:
    """What was found in a model.

    Attributes:
        content: of the architecture file.
        left_out: matrices that could be edited too, and why they are not proposed.
    """

    content: Mapping[str, Any]
    left_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """The architecture's: the model type, if that is a name for a file."""
        (model_type,) = self.content["model_types"]
        return str(model_type) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", model_type) else "architecture"

    def family(self) -> Family:
        """What the file is when it is read.

        Raises:
            EditError: it would not be valid.
        """
        return made_family(self.name, self.content)

    def to_text(self) -> str:
        """The architecture file."""
        return json.dumps(self.content, indent=2) + "\n"


def propose(model: torch.nn.Module, config: object, kind: Kind) -> Proposal:
    """What an architecture file for ``model`` would say.

    Args:
        model: a language model on the meta device.
        config: of the model.
        kind: of language model.

    Raises:
        FitError: it cannot be run without values, or has no blocks with matrices of the roles here.
    """
    model_type = str(getattr(config, "model_type", ""))
    flow = _flow(model, model_type, kind)
    lists = block_lists(flow)
    found = [(blocks, *roles_of(blocks, flow)) for blocks in lists]
    found = [one for one in found if one[1]]
    if not found:
        raise FitError(
            f"{printable(model_type)}: no list of blocks has the matrices of an MLP or of an attention; "
            f"{_what_it_has(lists, model)}"
        )
    # A model that has several lists has its MLPs in one, or only one is of text.
    found.sort(key=lambda one: (-("U_in" in one[1]), -len(one[0].members)))
    taken = _stacks(found, model) if kind == "seq2seq" else {"": found[0]}
    left_out: list[str] = []
    stacks = {}
    for name, (blocks, roles, further) in taken.items():
        matrices, unclear = _matrices(blocks, roles, flow, config)
        left_out += [f"{blocks.name}: {what}" for what in (*unclear, *further)]
        stacks[name] = {"layers": blocks.name, "matrices": matrices}
    names = {blocks.name for blocks, *_ in taken.values()}
    left_out += [blocks.name for blocks, *_ in found if blocks.name not in names]
    where: Mapping[str, object] = stacks.get("", {"stacks": stacks})
    content = {"model_types": [model_type], "kind": kind, **where, "weight_rows": _usual_rows(flow)}
    return Proposal(content, tuple(left_out))


def _flow(model: torch.nn.Module, model_type: str, kind: Kind) -> Flow:
    tokens = torch.zeros((1, SEQUENCE), dtype=torch.long, device="meta")
    inputs = {"input_ids": tokens, **({"decoder_input_ids": tokens} if kind == "seq2seq" else {})}
    try:
        return trace(model, inputs)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FitError(
            f"{printable(model_type)}: what flows into what cannot be seen without weights ({printable(said, 200)}); "
            "write an architecture file by hand (docs/architecture.md)"
        ) from error


Found = tuple[BlockList, Roles, tuple[str, ...]]
"""A list of blocks, the roles in it, and its further matrices."""


def _stacks(found: Sequence[Found], model: torch.nn.Module) -> dict[str, Found]:
    """The encoder's and the decoder's list of blocks."""
    stacks = {}
    for stack in ("encoder", "decoder"):
        part = getattr(model, f"get_{stack}")()
        inside = {id(module) for module in part.modules()}
        lists = [one for one in found if id(model.get_submodule(one[0].name)) in inside]
        if lists:
            stacks[stack] = lists[0]
    return stacks


def _matrices(blocks: BlockList, roles: Roles, flow: Flow, config: object) -> tuple[dict[str, object], list[str]]:
    """The roles of an architecture file, and what cannot be said there."""
    shares = _all_shares(blocks, roles, flow)
    matrices: dict[str, object] = {}
    left_out = []
    for role, sources in roles.items():
        places = []
        for source in sources:
            name = _whole_name(blocks, source, flow)
            if source.columns is not None and (source.matrix, role) not in shares:
                left_out.append(f"{role}, some of the outputs of {source.matrix}")
                continue
            place = _place(source.matrix, name, flow)
            if source.columns is not None:
                place["rows"] = shares[source.matrix, role].to_json(role, config)
            places.append(place["module"] if len(place) == 1 else place)
        if places:
            matrices[role] = places[0] if len(places) == 1 else places
    return matrices, left_out


def _place(inside: str, name: str, flow: Flow) -> dict[str, object]:
    """Where a matrix is inside a block."""
    place: dict[str, object] = {"module": inside}
    if name in flow.experts:
        module, _, parameter = inside.rpartition(".")
        place = {"module": module, "parameter": parameter, "experts": True}
    if flow.weight_rows[name] != _usual_rows(flow):
        place["weight_rows"] = flow.weight_rows[name]
    return place


def _usual_rows(flow: Flow) -> str:
    """What the rows of most matrices are."""
    rows = [rows for name, rows in flow.weight_rows.items() if name not in flow.experts]
    return "inputs" if rows.count("inputs") > rows.count("outputs") else "outputs"


def _all_shares(blocks: BlockList, roles: Roles, flow: Flow) -> dict[tuple[str, str], Shares]:
    """By fused matrix and role, how its outputs are shared out."""
    parts: dict[str, dict[str, Columns]] = {}
    for role, sources in roles.items():
        for source in sources:
            if source.columns is not None:
                parts.setdefault(source.matrix, {})[role] = source.columns
    found = {}
    for matrix, columns in parts.items():
        width = flow.features[_whole_name(blocks, Source(matrix), flow)][1]
        found.update({(matrix, role): one for role, one in shares_of(columns, width).items()})
    return found


def _whole_name(blocks: BlockList, source: Source, flow: Flow) -> str:
    """Of a matrix in the first block that has it."""
    return next(name for member in blocks.members if (name := f"{member}.{source.matrix}") in flow.into)


def _what_it_has(lists: Sequence[BlockList], model: torch.nn.Module) -> str:
    if not lists:
        return "it has no list of blocks"
    inside = model.get_submodule(lists[0].members[0])
    classes = dict.fromkeys(type(module).__name__ for module in inside.children())
    return f"{lists[0].name} has {len(lists[0].members)} of {type(inside).__name__}: {', '.join(classes)}"
