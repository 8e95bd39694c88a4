"""Packed batches of what examples ask, and where in them what is read."""

from __future__ import annotations

import pytest

from cti_edits.harness.edited_model import ScoredTokens
from cti_edits.harness.questions import FilledMasks, Question, TokenSequence
from cti_edits.replay.batches import ReadBatch, read_batches
from cti_edits.replay.memory import BatchSize


def scored(*tokens: int, answer: tuple[int, ...]) -> ScoredTokens:
    """An answer after ``tokens``; its last token has nothing to predict."""
    sequence = (*tokens, *answer[:-1])
    return ScoredTokens(sequence, tuple(range(len(tokens) - 1, len(sequence))), answer)


QUESTIONS = [
    Question(10, (scored(5, 6, 7, answer=(1, 2)), scored(5, 6, 7, answer=(3,))), None, 0),
    Question(11, (scored(5, 6, answer=(7, 8)),), None, 0),
    Question(14, (FilledMasks((9, 4, 4, 9), (1, 2), None),), scored(9, 9, answer=(1,)), 0),
    Question(17, (scored(5, 6, 7, answer=(1, 9)),), None, 0),
]


def sequence_of(name: tuple[int, int]) -> TokenSequence:
    return QUESTIONS[name[0]].sequences[name[1]]


def check(batch: ReadBatch) -> None:
    """What is read of each sequence are its own places, and each place is there once."""
    places = list(zip(batch.rows.tolist(), batch.columns.tolist(), strict=True))
    assert len(set(places)) == len(places)
    for name, reads in batch.reads.items():
        row, path = batch.paths[name]
        sequence = sequence_of(name)
        assert tuple(batch.packed.tokens[row, list(path)].tolist()) == sequence.tokens
        assert [places[read] for read in reads] == [(row, path[place]) for place in sequence.places]
    pairs = []
    for name in batch.scored:
        sequence = sequence_of(name)
        assert isinstance(sequence, ScoredTokens)
        pairs += list(zip(batch.reads[name], sequence.answer, strict=True))
    assert pairs == list(zip(batch.scored_places.tolist(), batch.scored_tokens.tolist(), strict=True))
    assert batch.examples == sorted({example for example, _ in batch.reads})


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("rows", "tokens"), [(1, 4), (2, 8), (8, 256)])
def test_every_sequence_is_read_once_at_its_own_places(rows: int, tokens: int, causal: bool) -> None:
    batches = read_batches(QUESTIONS, causal, BatchSize(rows, tokens))
    for batch in batches:
        check(batch)
    found = [name for batch in batches for name in batch.reads]
    assert sorted(found) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0)]
    # A gold answer that is asked for with the rest is scored, and masks are not.
    assert sorted(name for batch in batches for name in batch.scored) == sorted(set(found) - {(2, 0)})


def test_equal_prompts_are_predicted_from_once() -> None:
    """Both answers of the first example begin at the same place; so does that of the last."""
    (batch,) = read_batches(QUESTIONS, True, BatchSize(8, 256))
    assert batch.reads[0, 0][0] == batch.reads[0, 1][0] == batch.reads[3, 0][0]
    assert len(batch.rows) < sum(len(reads) for reads in batch.reads.values())


def test_two_sides_share_no_batch() -> None:
    sides = [True, False, True, False]
    batches = read_batches(QUESTIONS, True, BatchSize(8, 256), sides)
    assert [batch.examples for batch in batches] == [[1, 3], [0, 2]]
    for batch in batches:
        check(batch)
    assert [batch.examples for batch in read_batches(QUESTIONS, True, BatchSize(8, 256), [True] * 4)] == [[0, 1, 2, 3]]
