"""Where the matrices of a model are, with their shapes and layers, from its modules on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cti_edits.models.architectures import Family, MatrixPlace, count_of


@dataclass(frozen=True)
class FoundMatrix:
    """A role in a stack, as the model has it.

    Attributes:
        stack: name of the list of blocks; None where there is one without a name.
        role: "U_in".
        place: where it is inside a block.
        shape: outputs and inputs, of one expert if there are several.
        experts: how many each layer has; None if the matrix is no expert's.
        layers: the layers that have it there.
    """

    stack: str | None
    role: str
    place: MatrixPlace
    shape: tuple[int, int]
    experts: int | None
    layers: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many matrices these are."""
        return len(self.layers) * (self.experts or 1)


@dataclass(frozen=True)
class ArchitectureTree:
    """The stacks of a model and the matrices in them.

    Attributes:
        family: the architecture file.
        model_class: name of the model's class.
        parameters: how many numbers the model has.
        layers: from the name of each stack to its number of blocks.
        matrices: every role, in the order of the file.
    """

    family: Family
    model_class: str
    parameters: int
    layers: Mapping[str | None, int]
    matrices: tuple[FoundMatrix, ...]

    def tried(self, roles: tuple[str, ...]) -> int:
        """How many matrices of the main stack have one of ``roles``."""
        main = self.family.main_stack
        return sum(one.count for one in self.matrices if one.stack == main and one.role in roles)


def architecture_tree(model: torch.nn.Module, family: Family) -> ArchitectureTree:
    """The tree of a model, which may be on the meta device.

    Raises:
        FitError: the parts of a fused matrix cannot be shared out as the file says.
    """
    config = getattr(model, "config", None)
    modules = dict(model.named_modules())
    found: dict[tuple[str | None, str, MatrixPlace, tuple[int, int], int | None], list[int]] = {}
    layers = {name: family.layer_count(modules, name) for name in family.stack_names}
    for name in family.stack_names:
        stack = family.stack(name)
        for role, places in stack.matrices.items():
            for layer in range(layers[name]):
                for place in (place for place in places if place.fits(config)):
                    parameter = getattr(modules.get(f"{stack.layers}.{layer}.{place.module}"), place.parameter, None)
                    if isinstance(parameter, torch.Tensor):
                        shape, experts = _shape(parameter, place, config)
                        found.setdefault((name, role, place, shape, experts), []).append(layer)
                        break
    matrices = tuple(FoundMatrix(*key, tuple(where)) for key, where in found.items())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ArchitectureTree(family, type(model).__name__, parameters, layers, matrices)


def _shape(parameter: torch.Tensor, place: MatrixPlace, config: object) -> tuple[tuple[int, int], int | None]:
    """Outputs and inputs of a matrix, and how many experts share the parameter."""
    sizes = list(parameter.shape)
    experts: int | None = None
    if place.experts is True:
        experts = sizes.pop(0)
    elif place.experts is not None:
        experts = count_of(config, place.experts)
        sizes[0] //= experts
    outputs, inputs = sizes[::-1] if place.weight_rows == "inputs" else sizes
    return (outputs if place.rows is None else len(place.rows.rows(config, outputs)), inputs), experts
