"""What a method has to offer, and the one that an edit names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cti_edits.artifact.manifest import Edit, MatrixEdit
from cti_edits.errors import EditError

if TYPE_CHECKING:
    import torch

    from cti_edits.linalg.factors import Block


class Method(Protocol):
    """The functions of a method's module.

    ``weight`` is W (m, n), rows = output features, of any floating dtype and finite. ``packed`` has the factors of
    every block, from a file, and None for a block that keeps all of its ranks; with it nothing is decomposed.
    """

    def edited_weight(
        self, weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Sequence[Block | None] | None = None
    ) -> torch.Tensor:
        """Ŵ (m, n) in the dtype of ``weight``."""

    def factors_are_smaller(self, matrix_edit: MatrixEdit) -> bool:
        """Whether the factors of Ŵ have fewer numbers than Ŵ."""

    def factors(
        self, weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Sequence[Block | None] | None = None
    ) -> Sequence[Block]:
        """The factors of every block of Ŵ, or the block itself where they have no fewer numbers."""

    def factored_layer(
        self,
        weight: torch.Tensor,
        matrix_edit: MatrixEdit,
        layer: torch.nn.Module,
        packed: Sequence[Block | None] | None = None,
    ) -> torch.nn.Module:
        """A layer that takes the place of ``layer`` and runs the factors."""


def method_of(edit: Edit) -> Method:
    """The module of the edit's method.

    Raises:
        EditError: the method is not known here.
    """
    from cti_edits.methods import block_svd

    if edit.method != block_svd.NAME:
        raise EditError(f"{edit.name}: method: {edit.method!r} is not known here")
    return block_svd
