"""Token sequences packed into rows: what they share is there once, and little of a row is padding. Tensors only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

ROW_TOKENS = 256
"""Tokens of a row, unless one example alone has more. Attention costs the square of it, and every row holds what all
sequences share once; on two cores 128 to 512 took the same time."""


@dataclass(frozen=True)
class PackedBatch:
    """Rows of tokens that go through the model together.

    A row is a forest of tokens. In a causal model each token sees its ancestors and itself, so that sequences share
    the tokens that they start with; in a masked one each token sees all of its own sequence, and equal sequences share
    it. A padding token sees itself alone, and none sees it.

    Attributes:
        tokens: (rows, width) int64.
        positions: (rows, width) int64, a token's place in its sequence.
        visible: (rows, width, width) bool, whether the first may see the second.
        paths: for each sequence in the batch, by its number: its row, and the columns of its tokens in order.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    paths: dict[int, tuple[int, tuple[int, ...]]]


def pack(
    sequences: Sequence[tuple[int, ...]],
    examples: Sequence[int],
    causal: bool,
    rows_per_batch: int,
    row_tokens: int = ROW_TOKENS,
) -> list[PackedBatch]:
    """Pack sequences into batches of rows, the longest rows first.

    Args:
        sequences: token ids, one or more each.
        examples: the example that each sequence belongs to; those of one example stay in one row.
        causal: whether tokens see what is before them, or all of their sequence.
        rows_per_batch: rows of a batch, 1 or more.
        row_tokens: tokens of a row; an example that has more gets a row of its own.
    """
    members: dict[int, list[int]] = {}
    for number, example in enumerate(examples):
        members.setdefault(example, []).append(number)
    # In lexical order, those that start alike stand side by side, where they share a row.
    order = sorted(members, key=lambda example: sequences[members[example][0]])
    rows = [_Row(causal)]
    for example in order:
        tokens = [sequences[number] for number in members[example]]
        if rows[-1].tokens and len(rows[-1].tokens) + rows[-1].needed(tokens) > row_tokens:
            rows.append(_Row(causal))
        for number in members[example]:
            rows[-1].add(number, sequences[number])
    rows.sort(key=lambda row: -len(row.tokens))
    return [_batch(rows[start : start + rows_per_batch]) for start in range(0, len(rows), rows_per_batch)]


class _Row:
    """A row that is being filled."""

    def __init__(self, causal: bool) -> None:
        self.causal = causal
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.seen: list[list[int]] = []
        self.paths: dict[int, tuple[int, ...]] = {}
        self._children: dict[tuple[int, int], int] = {}
        self._whole: dict[tuple[int, ...], tuple[int, ...]] = {}

    def needed(self, sequences: Sequence[tuple[int, ...]]) -> int:
        """How many tokens these sequences would add."""
        if not self.causal:
            return sum(len(tokens) for tokens in set(sequences) - set(self._whole))
        added: set[tuple[int, ...]] = set()
        for tokens in sequences:
            shared = len(self._known(tokens))
            added.update(tokens[:end] for end in range(shared + 1, len(tokens) + 1))
        return len(added)

    def add(self, number: int, tokens: tuple[int, ...]) -> None:
        """Add what of a sequence is not there yet."""
        self.paths[number] = self._causal_path(tokens) if self.causal else self._masked_path(tokens)

    def _known(self, tokens: tuple[int, ...]) -> list[int]:
        """The columns of the longest start of a sequence that is there."""
        path: list[int] = []
        for token in tokens:
            child = self._children.get((path[-1] if path else -1, token))
            if child is None:
                break
            path.append(child)
        return path

    def _causal_path(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        path = self._known(tokens)
        for token in tokens[len(path) :]:
            column = len(self.tokens)
            self._children[path[-1] if path else -1, token] = column
            path.append(column)
            self.tokens.append(token)
            self.positions.append(len(path) - 1)
            self.seen.append(path.copy())
        return tuple(path)

    def _masked_path(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        if tokens not in self._whole:
            path = list(range(len(self.tokens), len(self.tokens) + len(tokens)))
            self.tokens += tokens
            self.positions += range(len(tokens))
            self.seen += [path] * len(path)
            self._whole[tokens] = tuple(path)
        return self._whole[tokens]


def _batch(rows: list[_Row]) -> PackedBatch:
    width = max(len(row.tokens) for row in rows)
    tokens = torch.zeros((len(rows), width), dtype=torch.long)
    positions = torch.zeros_like(tokens)
    visible = torch.eye(width, dtype=torch.bool).repeat(len(rows), 1, 1)
    paths: dict[int, tuple[int, tuple[int, ...]]] = {}
    for index, row in enumerate(rows):
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        positions[index, : len(row.tokens)] = torch.tensor(row.positions)
        for column, seen in enumerate(row.seen):
            visible[index, column, seen] = True
        paths |= {number: (index, path) for number, path in row.paths.items()}
    return PackedBatch(tokens, positions, visible, paths)
