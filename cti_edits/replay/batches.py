"""Packed batches of what examples ask, and where in them what is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import Question
from cti_edits.replay.memory import BatchSize
from cti_edits.replay.packed_rows import PackedBatch, pack


@dataclass(frozen=True)
class ReadBatch:
    """A batch with the places whose logits are read.

    Attributes:
        packed: the tokens.
        rows: (places,) int64, each place once.
        columns: (places,) int64.
        reads: for each sequence, (example, number among the example's), which of the places are its own, in order.
        paths: for each sequence, its row and the columns of its tokens.
        examples: the examples whose sequences are here, all of them.
        scored_places: (tokens,) int64, for each token of each scored answer, the place that predicts it.
        scored_tokens: (tokens,) int64, and its id.
        scored: the sequences of these answers, in the order of their tokens.
    """

    packed: PackedBatch
    rows: torch.Tensor
    columns: torch.Tensor
    reads: dict[tuple[int, int], list[int]]
    paths: dict[tuple[int, int], tuple[int, tuple[int, ...]]]
    examples: list[int]
    scored_places: torch.Tensor
    scored_tokens: torch.Tensor
    scored: list[tuple[int, int]]


def read_batches(
    questions: Sequence[Question],
    causal: bool,
    size: BatchSize,
    apart: Sequence[bool] | None = None,
) -> list[ReadBatch]:
    """Batches of everything that is asked; see `packing.pack`.

    Args:
        questions: of every example.
        causal: as in `packing.pack`.
        size: of a batch.
        apart: for each example, which of two it is of that are to share no batch; None for one of all.
    """
    sides = [False] * len(questions) if apart is None else apart
    together = ([example for example, side in enumerate(sides) if side is one] for one in (False, True))
    return [batch for examples in together if examples for batch in _batches_of(questions, examples, causal, size)]


def _batches_of(
    questions: Sequence[Question], examples: Sequence[int], causal: bool, size: BatchSize
) -> list[ReadBatch]:
    names = [(example, number) for example in examples for number in range(len(questions[example].sequences))]
    asked = {name: questions[name[0]].sequences[name[1]] for name in names}
    packed = pack(
        [asked[name].tokens for name in names], [name[0] for name in names], causal, size.rows, size.row_tokens
    )
    found = []
    for batch in packed:
        places: dict[tuple[int, int], int] = {}
        reads: dict[tuple[int, int], list[int]] = {}
        scored_places: list[int] = []
        scored_tokens: list[int] = []
        scored = []
        for index, (row, path) in sorted(batch.paths.items()):
            name, sequence = names[index], asked[names[index]]
            reads[name] = [places.setdefault((row, path[place]), len(places)) for place in sequence.places]
            if isinstance(sequence, ScoredTokens):
                scored_places += reads[name]
                scored_tokens += sequence.answer
                scored.append(name)
        at = torch.tensor(list(places), dtype=torch.long)
        found.append(
            ReadBatch(
                batch,
                at[:, 0],
                at[:, 1],
                reads,
                {names[index]: path for index, path in batch.paths.items()},
                sorted({example for example, _ in reads}),
                torch.tensor(scored_places, dtype=torch.long),
                torch.tensor(scored_tokens, dtype=torch.long),
                scored,
            )
        )
    return found
