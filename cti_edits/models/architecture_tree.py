"""Where the matrices of a model are, with their shapes and layers, from its modules on the meta device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from cti_edits.models.architectures import Family
from cti_edits.models.targets import TargetMatrix, every_target


@dataclass(frozen=True)
class FoundMatrix:
    """A role in a stack, as some of its layers have it.

    Attributes:
        first: the matrix in the first of these layers.
        module: its module's name inside a block.
        shape: outputs and inputs, of one expert if there are several.
        layers: the layers that have it so.
    """

    first: TargetMatrix
    module: str
    shape: tuple[int, int]
    layers: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many matrices these are."""
        return len(self.layers) * self.first.experts


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

    def count(self, roles: Iterable[str]) -> int:
        """How many matrices have one of ``roles``."""
        wanted = set(roles)
        return sum(one.count for one in self.matrices if one.first.matrix in wanted)


def architecture_tree(model: torch.nn.Module, family: Family) -> ArchitectureTree:
    """The tree of a model, which may be on the meta device.

    Raises:
        FitError: a matrix is not as the file says.
    """
    found: dict[tuple[object, ...], list[TargetMatrix]] = {}
    for target in every_target(model, family):
        place = (target.stack, target.matrix, _inside(target, family), target.parameter_name, target.rows)
        found.setdefault((*place, _shape(target), target.experts), []).append(target)
    return ArchitectureTree(
        family=family,
        model_class=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers={name: family.layer_count(dict(model.named_modules()), name) for name in family.stack_names},
        matrices=tuple(
            FoundMatrix(
                targets[0], _inside(targets[0], family), _shape(targets[0]), tuple(one.layer for one in targets)
            )
            for targets in found.values()
        ),
    )


def _inside(target: TargetMatrix, family: Family) -> str:
    return target.module.removeprefix(f"{family.stack(target.stack).layers}.{target.layer}.")


def _shape(target: TargetMatrix) -> tuple[int, int]:
    outputs, inputs = target.weight.shape
    return outputs, inputs
