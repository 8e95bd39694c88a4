"""``cti-edits architectures``: the architecture files that are known, and the tree of one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cti_edits.errors import EditError, printable
from cti_edits.report.listing import print_listing

if TYPE_CHECKING:
    from cti_edits.models.architecture_tree import ArchitectureTree, FoundMatrix
    from cti_edits.models.architectures import Family, Kind, MatrixPlace

SHOWN = ("sigma-step", "cl-100g-100e", "laser")
"""Presets whose cost is shown: the default, the paper's, and what it is compared with."""

ROWS = 1000
"""Of the task whose cost is shown."""


def print_families(families: Iterable[Family]) -> None:
    """A row for each architecture file."""
    every = list(families)
    rows = []
    for family in every:
        for name in family.stack_names:
            places = [place for all_of_role in family.stack(name).matrices.values() for place in all_of_role]
            rows.append(
                (
                    family.name,
                    family.kind,
                    name or "",
                    ", ".join(family.stack(name).matrices),
                    "yes" if any(place.rows for place in places) else "",
                    "yes" if any(place.experts for place in places) else "",
                    ", ".join(family.model_types),
                )
            )
    print_listing(("architecture", "kind", "stack", "matrices", "fused", "experts", "model types"), rows)
    types = sum(len(family.model_types) for family in every)
    print(
        f"{len(every)} architectures, {types} model types. Fused: several matrices in one weight. "
        "Another one: cti-edits architectures MODEL."
    )


def family_json(family: Family) -> dict[str, object]:
    """One architecture file, with what follows from it."""
    return {
        "name": family.name,
        "model_types": list(family.model_types),
        "kind": family.kind,
        "stacks": [
            {
                "name": name,
                "layers": family.stack(name).layers,
                "matrices": {
                    role: [_place_json(place) for place in places]
                    for role, places in family.stack(name).matrices.items()
                },
            }
            for name in family.stack_names
        ],
    }


def _place_json(place: MatrixPlace) -> dict[str, object]:
    return {
        "module": place.module,
        "parameter": place.parameter,
        "fused": place.rows is not None,
        "experts": place.experts is not None,
    }


def print_tree(tree: ArchitectureTree, model_type: str) -> None:
    """The stacks and matrices of a model, and what searches on it try and cost."""
    family = tree.family
    print(
        f"{printable(model_type)}: {printable(tree.model_class)}, {family.kind} language model, "
        f"{tree.parameters:,} parameters"
    )
    for name in family.stack_names:
        blocks = f"{family.stack(name).layers}: {tree.layers[name]} layers"
        print(blocks if name is None else f"{name} {blocks}")
    named = any(family.stack_names)
    print_listing(
        (*(["stack"] if named else []), "matrix", "module in a block", "outputs", "inputs", "layers"),
        [
            (
                *([one.first.stack or ""] if named else []),
                one.first.matrix,
                _module(one),
                f"{one.shape[0]:,}",
                f"{one.shape[1]:,}",
                _layers(one, tree),
            )
            for one in tree.matrices
        ],
        right=("outputs", "inputs"),
    )
    roles, count, costs = _costs(tree)
    print(f"A search tries {', '.join(roles)}: {count:,} matrices. For a task of {ROWS:,} rows, without --final:")
    print_listing(
        ("preset", "candidates", "forward passes"),
        [(name, f"{candidates:,}", f"{passes:,.0f}") for name, candidates, passes in costs if name in SHOWN],
        right=("candidates", "forward passes"),
    )
    print("Other presets: cti-edits presets, cti-edits cost.")


def tree_json(tree: ArchitectureTree, model_type: str) -> dict[str, object]:
    """The same for programs."""
    roles, count, costs = _costs(tree)
    return {
        "model_type": model_type,
        "class": tree.model_class,
        "kind": tree.family.kind,
        "parameters": tree.parameters,
        "stacks": [
            {"name": name, "layers": tree.family.stack(name).layers, "count": tree.layers[name]}
            for name in tree.family.stack_names
        ],
        "matrices": [
            {
                "stack": one.first.stack,
                "matrix": one.first.matrix,
                "module": one.module,
                "parameter": one.first.parameter_name,
                "rows": one.first.rows.to_json() if one.first.rows else None,
                "shape": list(one.shape),
                "experts": one.first.experts if one.first.expert is not None else None,
                "layers": list(one.layers),
            }
            for one in tree.matrices
        ],
        "search": {
            "matrices": list(roles),
            "count": count,
            "rows": ROWS,
            "presets": [
                {"preset": name, "candidates": candidates, "forward_passes": passes}
                for name, candidates, passes in costs
            ],
        },
    }


def _module(one: FoundMatrix) -> str:
    first = one.first
    name = one.module if first.parameter_name == "weight" else f"{one.module}.{first.parameter_name}"
    of_experts = "" if first.expert is None else f", {first.experts} experts"
    return f"{name}{f', {first.rows}' if first.rows else ''}{of_experts}"


def _layers(one: FoundMatrix, tree: ArchitectureTree) -> str:
    """The layers that have a matrix, as ranges."""
    if len(one.layers) == tree.layers[one.first.stack]:
        return "all"
    ranges: list[list[int]] = []
    for layer in one.layers:
        if ranges and layer == ranges[-1][-1] + 1:
            ranges[-1].append(layer)
        else:
            ranges.append([layer])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in ranges)


def _costs(tree: ArchitectureTree) -> tuple[Sequence[str], int, list[tuple[str, int, float]]]:
    """The roles that a search tries, how many matrices of the model have them, and each preset's cost."""
    from cti_edits.search.cost import candidate_count, cost_here
    from cti_edits.search.presets import every_preset
    from cti_edits.search.settings import MATRICES

    kind: Kind = tree.family.kind
    costs = []
    for preset in every_preset():
        # The cost is counted by layers; where some have no such matrix, or an expert each, they count as so many.
        layers = tree.count(preset.matrices) // len(preset.matrices)
        try:
            passes = cost_here(preset, kind, ROWS, layers, final=False).total
            costs.append((preset.name, candidate_count(preset, kind, layers), passes))
        except EditError:  # Only the plugin of a method knows what that tries.
            continue
    return MATRICES, tree.count(MATRICES), costs
