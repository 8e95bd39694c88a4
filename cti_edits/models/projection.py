"""Logits at chosen positions only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def projected_at(head: torch.nn.Module | None, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Inside, ``head`` projects only the hidden states at some positions onto the vocabulary.

    A small masked model spends most of its memory and much of its time on that projection. All logits are computed
    where ``head`` is None or its input is not (batch, sequence, width).

    Args:
        head: the layer that gives logits, or None.
        rows: (p,) indices into the batch.
        columns: (p,) positions in the sequence. The output of ``head`` is (p, vocabulary).
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
