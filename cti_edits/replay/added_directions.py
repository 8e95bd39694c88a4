"""A model whose layers add U (c ⊙ (V x)) to what they give, while no weight is changed or copied."""

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


@contextlib.contextmanager
def added_directions(model: torch.nn.Module, added: Sequence[AddedDirections]) -> Iterator[None]:
    """Inside, the layers of ``model`` add what ``added`` says."""

    def add(
        one: AddedDirections, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        return output + in_columns(one.output(inputs[0]), one.target.rows, output)

    with contextlib.ExitStack() as stack:
        for one in added:
            module = model.get_submodule(one.target.module)
            stack.callback(module.register_forward_hook(functools.partial(add, one)).remove)
        yield
