"""Greedy decoding of several sequences that share packed rows, from keys and values that are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cti_edits.search.replay import BlockReplay


@dataclass
class Unfinished:
    """A sequence that is to be continued.

    Attributes:
        row: of the cache.
        columns: what of the row it sees.
        written: the tokens that it was continued by so far; the last of them has no keys and values yet.
        position: of that last one.
        finished: whether it ends with the given tokens.
    """

    row: int
    columns: list[int]
    written: list[int]
    position: int
    finished: Callable[[Sequence[int]], bool] = field(repr=False)


def decode(replay: BlockReplay, cache: Any, rows: int, width: int, unfinished: Sequence[Unfinished]) -> None:
    """Continue each sequence by the likeliest tokens until it is finished; ``written`` grows in place.

    Args:
        replay: the model.
        cache: a transformers cache with the keys and values of every block, (rows, heads, width, head width).
        rows: of the cache.
        width: of the cache.
        unfinished: the sequences, each with at least one written token.
    """
    active = list(unfinished)
    while active:
        members: list[list[Unfinished]] = [[] for _ in range(rows)]
        for sequence in active:
            members[sequence.row].append(sequence)
        added = max(map(len, members))
        tokens = torch.zeros((rows, added), dtype=torch.long)
        positions = torch.zeros_like(tokens)
        visible = torch.zeros((rows, added, width + added), dtype=torch.bool)
        visible[:, range(added), range(width, width + added)] = True
        for row, group in enumerate(members):
            for index, sequence in enumerate(group):
                tokens[row, index], positions[row, index] = sequence.written[-1], sequence.position
                visible[row, index, sequence.columns] = True
        likeliest = replay.next_logits(tokens, positions, visible, cache).argmax(dim=-1).tolist()
        for row, group in enumerate(members):
            for index, sequence in enumerate(group):
                sequence.columns.append(width + index)
                sequence.written.append(likeliest[row * added + index])
                sequence.position += 1
        width += added
        active = [sequence for sequence in active if not sequence.finished(sequence.written)]
