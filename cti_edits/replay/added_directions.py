"""A model whose layers add U (c ⊙ (V x)) to what they give, while no weight is changed or copied.

What is no layer's weight, as an expert's matrix, has the sum in its place, made anew before each call of the model.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cti_edits.linalg.fused_rows import in_columns
from cti_edits.models.targets import TargetMatrix
from cti_edits.replay.sigma_gradients import SingularVectors


@dataclass(frozen=True)
class AddedDirections:
    """What is added beside one matrix.

    Attributes:
        target: the matrix.
        blocks: singular vectors of directions of each of its row blocks, in the weight's dtype or float32.
        coefficients: one a block: (directions,), c_i = (s_i − 1) σ_i, which may change while it is in force.
    """

    target: TargetMatrix
    blocks: Sequence[SingularVectors]
    coefficients: Sequence[torch.Tensor]

    def output(self, inputs: torch.Tensor) -> torch.Tensor:
        """Σ_i c_i (v_iᵀ x) u_i of every row block: (…, m) for inputs (…, n), in the inputs' dtype."""
        x = inputs.to(self.blocks[0].V.dtype)
        parts = [
            ((x @ block.V) * coefficients.to(x.dtype)) @ block.U.mT
            for block, coefficients in zip(self.blocks, self.coefficients, strict=True)
        ]
        return torch.cat(parts, dim=-1).to(inputs.dtype)

    def difference(self) -> torch.Tensor:
        """Σ_i c_i u_i v_iᵀ of every row block, (m, n)."""
        return torch.cat(
            [
                (block.U * coefficients.to(block.U.dtype)) @ block.V.mT
                for block, coefficients in zip(self.blocks, self.coefficients, strict=True)
            ]
        )


@contextlib.contextmanager
def added_directions(model: torch.nn.Module, added: Sequence[AddedDirections]) -> Iterator[None]:
    """Inside, the layers of ``model`` add what ``added`` says."""
    of_parameter: dict[tuple[str, str], list[AddedDirections]] = {}
    for one in added:
        if not one.target.is_weight:
            of_parameter.setdefault((one.target.module, one.target.parameter_name), []).append(one)

    def add(
        one: AddedDirections, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        return output + in_columns(one.output(inputs[0]), one.target.rows, output)

    with contextlib.ExitStack() as stack:
        for one in added:
            if one.target.is_weight:
                module = model.get_submodule(one.target.module)
                stack.callback(module.register_forward_hook(functools.partial(add, one)).remove)
        for (name, parameter), ones in of_parameter.items():
            stack.enter_context(_with_differences(model, name, parameter, ones))
        yield


@contextlib.contextmanager
def _with_differences(
    model: torch.nn.Module, module_name: str, name: str, added: Sequence[AddedDirections]
) -> Iterator[None]:
    """Inside, ``model`` runs with the sum of a module's parameter ``name`` and what is added to parts of it."""
    module, parameter = model.get_submodule(module_name), added[0].target.parameter

    def renew(*_: object) -> None:
        difference = torch.zeros_like(parameter)
        for one in added:
            one.target.put_into(difference, one.difference())
        # What an instance has of its own hides the module's parameter of that name, which stays as it is.
        module.__dict__[name] = parameter + difference

    # Before the model: a module around this one may read its parameter.
    handle = model.register_forward_pre_hook(renew)
    try:
        yield
    finally:
        handle.remove()
        module.__dict__.pop(name, None)
