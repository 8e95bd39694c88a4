"""A method: one matrix times a number, which stands in the manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cti_edits.artifact.matrix_edits import MatrixEdit, PluginEdit
from cti_edits.errors import EditError
from cti_edits.linalg.factors import Block
from cti_edits.methods.method import BlockForm, expected_kind
from cti_edits.models.checkpoint import Checkpoint
from cti_edits.models.identity import identity_of
from cti_edits.search.candidates import Candidate, MatrixId
from cti_edits.search.trials import SearchContext, Trial

if TYPE_CHECKING:
    from cti_edits.methods.method import Packed

NAME = "scaled"


def edited_weight(weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> torch.Tensor:
    """Ŵ, from a file of factors if there is one."""
    if packed is not None:
        (block,) = packed
        assert isinstance(block, torch.Tensor)
        return block
    factor = expected_kind(matrix_edit, PluginEdit).parameters.get("factor")
    if not isinstance(factor, int | float):
        raise EditError(f"parameters: expected a factor, a number, got {factor!r}")
    return weight.detach() * factor


def kept_parameters(matrix_edit: MatrixEdit) -> int:
    """As many as W has."""
    return matrix_edit.shape[0] * matrix_edit.shape[1]


def runs_as_factors(_: MatrixEdit) -> bool:
    """Never."""
    return False


def block_forms(matrix_edit: MatrixEdit) -> list[BlockForm]:
    """One dense block."""
    return [BlockForm(matrix_edit.shape[0], None)]


def factors(weight: torch.Tensor, matrix_edit: MatrixEdit) -> list[Block]:
    """Ŵ itself."""
    return [edited_weight(weight, matrix_edit)]


def factored_layer(
    weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
) -> torch.nn.Module:
    """There is none."""
    raise EditError(f"{matrix_edit.module}: a scaled matrix has no factors")


@dataclass(frozen=True)
class Scaled(Candidate):
    """A matrix times a factor."""

    target: MatrixId
    factor: float

    def __str__(self) -> str:
        return f"{self.factor:g} times {self.target}"

    def cells(self) -> dict[str, str]:
        """Columns of the table of candidates."""
        return {"matrix": self.target.matrix, "layer": str(self.target.layer), "factor": f"{self.factor:g}"}


class ScaledTrials:
    """Every matrix times a half, and times two."""

    def __init__(self, context: SearchContext) -> None:
        self._targets = context.targets
        self.candidates = [Scaled(target, factor) for target in context.targets for factor in (0.5, 2.0)]

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        """Those that are wanted, with their weights."""
        for one in self.candidates:
            if one in wanted:
                target = self._targets[one.target]
                yield Trial(one, [(target, target.weight * one.factor)])

    def as_applied(self, candidate: Candidate) -> None:
        """The same bits."""

    def matrix_edits(self, candidate: Candidate, checkpoint: Checkpoint | None) -> tuple[PluginEdit, ...]:
        """What the manifest says."""
        assert isinstance(candidate, Scaled)
        target = self._targets[candidate.target]
        found = identity_of(target, checkpoint)
        return (
            PluginEdit(
                name=NAME,
                distribution="cti-edits-example",
                parameters={"factor": candidate.factor},
                matrix=target.matrix,
                layer=target.layer,
                module=target.module,
                shape=(target.weight.shape[0], target.weight.shape[1]),
                sha256=found.sha256,
                frobenius_norm=found.frobenius_norm,
                dtype=found.dtype,
                tensor=found.tensor,
            ),
        )


def propose(context: SearchContext) -> ScaledTrials:
    """What a search tries."""
    return ScaledTrials(context)
