"""Greedy decoding of several sequences together, from keys and values that are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cti_edits.replay.block_replay import BlockReplay


@dataclass
class UnfinishedText:
    """A sequence that is to be continued.

    Attributes:
        row: of the packed batch that it was read in.
        path: its columns there that have keys and values.
        written: the tokens that it was continued by so far, one or more; the last has no keys and values yet, and
            follows those of ``path``.
        finished: whether it ends with the given tokens.
    """

    row: int
    path: list[int]
    written: list[int]
    finished: Callable[[Sequence[int]], bool] = field(repr=False)


def decode(replay: BlockReplay, cache: Any, unfinished: Sequence[UnfinishedText]) -> None:
    """Continue each sequence by the likeliest tokens until it is finished; ``written`` grows in place.

    Args:
        replay: the model.
        cache: a transformers cache with the keys and values of every block, a row for each sequence, padded on the
            right to the longest path; used up.
        unfinished: the sequences.
    """
    active = list(unfinished)
    seen = torch.tensor([len(sequence.path) for sequence in active])
    width = int(seen.max())
    steps = 0
    while active:
        columns = torch.arange(width + steps + 1)
        visible = (columns < seen[:, None]) | (columns >= width)
        seen_positions = torch.where(columns < width, columns, columns - width + seen[:, None])
        tokens = torch.tensor([[sequence.written[-1]] for sequence in active])
        logits = replay.next_logits(tokens, (seen + steps)[:, None], visible[:, None], seen_positions, cache)
        for sequence, token in zip(active, logits.argmax(dim=-1).tolist(), strict=True):
            sequence.written.append(token)
        steps += 1
        kept = [index for index, sequence in enumerate(active) if not sequence.finished(sequence.written)]
        if len(kept) < len(active):
            active, seen = [active[index] for index in kept], seen[kept]
            cache.batch_select_indices(torch.tensor(kept, dtype=torch.long, device=logits.device))
