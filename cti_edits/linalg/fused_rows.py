"""The rows of one of several matrices that are fused in one tensor."""

from __future__ import annotations

import torch

from cti_edits.artifact.rows import Rows


def rows_of(matrix: torch.Tensor, rows: Rows | None) -> torch.Tensor:
    """Those rows of ``matrix`` (m, n), or all of it: a view, but a copy where they are in several runs.

    Args:
        matrix: (m, n).
        rows: which of its rows.
    """
    if rows is None:
        return matrix
    return matrix[rows.start : rows.stop] if rows.count == 1 else _runs(matrix, rows).flatten(0, 1)


def put_rows(matrix: torch.Tensor, rows: Rows | None, values: torch.Tensor) -> None:
    """Write ``values`` to those rows of ``matrix``, or to all of it; the others keep their bits."""
    if rows is None:
        matrix.copy_(values)
    else:
        _runs(matrix, rows).copy_(values.view(rows.count, rows.size, -1))


def columns_of(values: torch.Tensor, rows: Rows | None) -> torch.Tensor:
    """What a layer whose weight has such rows gives by them alone: those of the last axis of ``values`` (…, m)."""
    if rows is None:
        return values
    if rows.count == 1:
        return values[..., rows.start : rows.stop]
    return values[..., torch.tensor(list(rows), device=values.device)]


def in_columns(values: torch.Tensor, rows: Rows | None, like: torch.Tensor) -> torch.Tensor:
    """``values`` (…, m) where `columns_of` takes them from, in a tensor as ``like`` that is 0 elsewhere."""
    if rows is None:
        return values
    places = torch.tensor(list(rows), device=like.device)
    return torch.zeros_like(like).index_copy(-1, places, values.to(like.dtype))


def _runs(matrix: torch.Tensor, rows: Rows) -> torch.Tensor:
    """A view of ``matrix`` as (runs, rows of a run, n)."""
    return matrix[rows.start : rows.end].unfold(0, rows.size, rows.step or rows.size).transpose(1, 2)
