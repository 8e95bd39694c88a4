"""A linear layer that keeps its weight and adds a product of two thin matrices to what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cti_edits.artifact.rows import Rows
from cti_edits.linalg.factors import LowRank
from cti_edits.linalg.fused_rows import in_columns


class AddedLowRank(torch.nn.Module):
    """y = W x + bias + U (V x), with W the base's own weight: there is no second dense matrix.

    Args:
        layer: an `nn.Linear` or GPT-2's Conv1D, whose place this takes. It stays inside, as it is.
        blocks: for each row block of W the factors of what is added, or None.
        sizes: the rows m_k of each.
        rows: which outputs of the layer W gives, where it is a part of the layer's weight; None: all.

    Attributes:
        base: ``layer``.
        right: (s, n), the right factors of all blocks, stacked.
        lefts: the left factor (m_k, s_k) of each block that has one.
        sizes: the rows m_k of each block.
        ranks: s_k of each block, 0 where nothing is added.
        rows: as given.
    """

    def __init__(
        self, layer: torch.nn.Module, blocks: Sequence[LowRank | None], sizes: Sequence[int], rows: Rows | None = None
    ) -> None:
        super().__init__()
        weight = layer.weight
        assert isinstance(weight, torch.nn.Parameter)

        def parameter(values: torch.Tensor) -> torch.nn.Parameter:
            values = values.detach().to(device=weight.device, dtype=weight.dtype).clone()
            return torch.nn.Parameter(values, requires_grad=weight.requires_grad)

        self.base = layer
        self.sizes, self.ranks = tuple(sizes), tuple(0 if block is None else len(block.right) for block in blocks)
        given = [block for block in blocks if block is not None]
        self.right = parameter(torch.cat([block.right for block in given]))
        self.lefts = torch.nn.ParameterList(parameter(block.left) for block in given)
        self.rows = rows
        self.train(layer.training)

    @property
    def weight(self) -> torch.nn.Parameter:
        """The base's weight, unedited."""
        weight = self.base.weight
        assert isinstance(weight, torch.nn.Parameter)
        return weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (…, m) for ``inputs`` (…, n), both in the weights' dtype."""
        linear = torch.nn.functional.linear
        outputs: torch.Tensor = self.base(inputs)
        projected = torch.split(linear(inputs, self.right), [rank for rank in self.ranks if rank], dim=-1)
        if len(self.ranks) == 1:
            return self._sum(outputs, linear(projected[0], self.lefts[0]))
        parts, lefts = iter(projected), iter(self.lefts)
        added = [
            linear(next(parts), next(lefts)) if rank else outputs.new_zeros(*outputs.shape[:-1], size)
            for size, rank in zip(self.sizes, self.ranks, strict=True)
        ]
        return self._sum(outputs, torch.cat(added, dim=-1))

    def _sum(self, outputs: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        return outputs + in_columns(added, self.rows, outputs)

    def extra_repr(self) -> str:
        """The ranks, for ``print(model)``."""
        return f"added ranks=({', '.join(map(str, self.ranks))})"
