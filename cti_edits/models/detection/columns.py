"""Which numbers of a row a view of a tensor has: the parts of a fused matrix, found from strides."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

Columns = tuple[tuple[int, int], ...]
"""Ranges of columns, [start, stop), in increasing order, with gaps between them."""


def columns_of(view: torch.Tensor, width: int) -> Columns | None:
    """The columns that a view has of a storage of rows of ``width`` numbers; None if it has all of them."""
    return _columns(tuple(view.shape), tuple(view.stride()), int(view.storage_offset()), width)


@lru_cache(maxsize=4096)
def _columns(shape: tuple[int, ...], strides: tuple[int, ...], offset: int, width: int) -> Columns | None:
    if 0 in shape:
        return ()
    places = np.array([offset % width])
    for size, stride in zip(shape, strides, strict=True):
        # Whole rows further on there are the same columns.
        if stride % width and size > 1:
            places = np.unique((places[:, None] + np.arange(size) * stride).reshape(-1) % width)
    return None if len(places) == width else ranges_of(places)


def ranges_of(places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Columns:
    """Numbers in increasing order as ranges."""
    if not len(places):
        return ()
    cuts = np.flatnonzero(np.diff(places) != 1) + 1
    starts, stops = places[np.r_[0, cuts]], places[np.r_[cuts - 1, len(places) - 1]] + 1
    return tuple(zip(starts.tolist(), stops.tolist(), strict=True))


def union(parts: list[Columns | None], width: int) -> Columns | None:
    """All columns that are in one of ``parts``; None if these are all of ``width``."""
    return _columns_where(_taken(parts, width))


def without(one: Columns | None, others: list[Columns | None], width: int) -> Columns | None:
    """The columns of ``one`` that are in none of ``others``; None if these are all of ``width``."""
    return _columns_where(_taken([one], width) & ~_taken(others, width))


def _taken(parts: list[Columns | None], width: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    taken = np.zeros(width, dtype=np.bool_)
    for part in parts:
        for start, stop in ((0, width),) if part is None else part:
            taken[start:stop] = True
    return taken


def _columns_where(taken: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Columns | None:
    return None if taken.all() else ranges_of(np.flatnonzero(taken))
