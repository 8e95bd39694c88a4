"""What a method has to offer, and the one that an edit names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cti_edits.artifact.manifest import Edit, MatrixEdit
from cti_edits.errors import EditError

if TYPE_CHECKING:
    import torch

    from cti_edits.linalg.factors import Block

    Packed = Sequence[Block | None]


class Method(Protocol):
    """The functions of a method's module, whose arguments are these.

    Args:
        weight: W (m, n), rows = output features, any floating dtype, finite.
        matrix_edit: what the manifest says of this matrix.
        packed: the factors of every block from a file (see `factor_file.read_factors`), so that nothing is decomposed;
            None for a block that keeps all of its ranks.
        layer: the layer that holds W.

    Each raises an EditError where the matrix edit does not fit the weight.
    """

    def edited_weight(
        self, weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None
    ) -> torch.Tensor:
        """Ŵ (m, n) in the dtype of ``weight``; of ``packed`` on the CPU."""

    def factors_are_smaller(self, matrix_edit: MatrixEdit) -> bool:
        """Whether the factors of Ŵ have fewer numbers than Ŵ."""

    def factors(self, weight: torch.Tensor, matrix_edit: MatrixEdit, packed: Packed | None = None) -> Sequence[Block]:
        """The factors of every block of Ŵ, or the dense block where they have no fewer numbers."""

    def factored_layer(
        self, weight: torch.Tensor, matrix_edit: MatrixEdit, layer: torch.nn.Module, packed: Packed | None = None
    ) -> torch.nn.Module:
        """A layer that takes the place of ``layer`` and runs the factors of Ŵ."""


def method_of(edit: Edit) -> Method:
    """The module of the edit's method.

    Raises:
        EditError: the method is not known here.
    """
    from cti_edits.methods import block_svd

    if edit.method != block_svd.NAME:
        raise EditError(f"{edit.name}: method: {edit.method!r} is not known here")
    return block_svd
