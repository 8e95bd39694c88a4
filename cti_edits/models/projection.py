"""Logits at the places that are asked for, and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def projected_at(head: torch.nn.Module | None, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Inside, ``head`` projects the hidden states at these places onto the vocabulary, and no others.

    The vocabulary is where a small masked model spends its memory and much of its time. A model without such a
    layer, or whose layer is given something else than (batch, sequence, width), computes all logits.
    """
    if head is None:
        yield
        return

    def select(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = inputs[0]
        return (hidden[rows.to(hidden.device), columns.to(hidden.device)],) if hidden.ndim == 3 else inputs

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
