"""A linear layer that runs an edit's factors without building Ŵ."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, partition_rows
from cti_edits.linalg.factors import Block, LowRank


class FactoredLinear(torch.nn.Module):
    """y = x Ŵᵀ + bias, where each row block of Ŵ is a product of two factors, or dense where that has fewer numbers.

    All right factors are one matrix, so that x is read from memory once for all of them.

    Args:
        blocks: the row blocks of Ŵ, at least one of them factors.
        partition: which rows make a block; see `ranks.partition_rows`.
        layer: an `nn.Linear` or GPT-2's Conv1D, whose place this takes: with its dtype, device, bias and mode.

    Attributes:
        in_features: n.
        out_features: m.
        right: the right factors of the blocks that have them, stacked, (Σ j_k, n).
        parts: one a block: the left factor (m_k, j_k), or the dense block (m_k, n).
        ranks: one a block: j_k, or None for a dense block.
        order: (m,), where in the stacked blocks each output is, or None where the blocks are consecutive.
        bias: (m,), or None.
    """

    order: torch.Tensor | None
    bias: torch.nn.Parameter | None

    def __init__(self, blocks: Sequence[Block], partition: str, layer: torch.nn.Module) -> None:
        super().__init__()
        weight = layer.weight
        assert isinstance(weight, torch.nn.Parameter)

        def parameter(values: torch.Tensor) -> torch.nn.Parameter:
            values = values.detach().to(device=weight.device, dtype=weight.dtype).clone()
            return torch.nn.Parameter(values, requires_grad=weight.requires_grad)

        self.ranks = [block.right.shape[0] if isinstance(block, LowRank) else None for block in blocks]
        rights = [block.right for block in blocks if isinstance(block, LowRank)]
        self.right = parameter(torch.cat(rights))
        self.parts = torch.nn.ParameterList(
            parameter(block.left if isinstance(block, LowRank) else block) for block in blocks
        )
        bias = getattr(layer, "bias", None)
        self.register_parameter("bias", bias if isinstance(bias, torch.nn.Parameter) else None)
        self.in_features, self.out_features = self.right.shape[1], sum(len(part) for part in self.parts)
        order = None
        if partition != ROW_BLOCKS:
            rows = [row for block in partition_rows(self.out_features, len(blocks), partition) for row in block]
            order = torch.argsort(torch.tensor(rows)).to(weight.device)
        self.register_buffer("order", order, persistent=False)
        self.train(layer.training)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (…, m) for ``inputs`` (…, n), both in the weights' dtype."""
        linear = torch.nn.functional.linear
        projected = linear(inputs, self.right)
        outputs, start = [], 0
        for part, rank in zip(self.parts, self.ranks, strict=True):
            if rank is None:
                outputs.append(linear(inputs, part))
            else:
                outputs.append(linear(projected[..., start : start + rank], part))
                start += rank
        result = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        if self.order is not None:
            result = result[..., self.order]
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        """The sizes and ranks, for ``print(model)``."""
        ranks = ", ".join("dense" if rank is None else str(rank) for rank in self.ranks)
        return f"in_features={self.in_features}, out_features={self.out_features}, ranks=({ranks})"
