"""Sequences packed into rows: each token sees its own prefix, and what is shared is there once."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.replay.packed_rows import PackedBatch, pack

SEQUENCES = ((5, 6, 7, 8), (5, 6, 9), (5, 6, 7, 8), (1,), (5, 6, 7, 8, 2), (3, 3, 3), (5,))


def ancestors(batch: PackedBatch, row: int, column: int) -> list[int]:
    return [int(place) for place in batch.visible[row, column].nonzero().flatten()]


def check(batches: list[PackedBatch], sequences: tuple[tuple[int, ...], ...], causal: bool) -> None:
    """Each sequence is there once, at its own positions, and each of its tokens sees what it should and no more."""
    found = [number for batch in batches for number in batch.paths]
    assert sorted(found) == list(range(len(sequences)))
    for batch in batches:
        assert bool(batch.visible.diagonal(dim1=1, dim2=2).all())
        used = torch.zeros_like(batch.tokens, dtype=torch.bool)
        for number, (row, path) in batch.paths.items():
            assert tuple(batch.tokens[row, list(path)].tolist()) == sequences[number]
            assert batch.positions[row, list(path)].tolist() == list(range(len(path)))
            for place, column in enumerate(path):
                assert ancestors(batch, row, column) == sorted(path[: place + 1] if causal else path)
            used[row, list(path)] = True
        for row, column in (~used).nonzero().tolist():
            # Padding sees itself, and nothing sees it: above, no path has it.
            assert ancestors(batch, row, column) == [column]


sequences_strategy = st.lists(
    st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple), min_size=1, max_size=12
).map(tuple)


@given(sequences_strategy, st.integers(1, 20), st.integers(1, 4), st.booleans(), st.data())
def test_whatever_the_sequences(
    sequences: tuple[tuple[int, ...], ...], row_tokens: int, rows: int, causal: bool, data: st.DataObject
) -> None:
    examples = [data.draw(st.integers(0, 4)) for _ in sequences]
    batches = pack(sequences, examples, causal, rows, row_tokens)
    check(batches, sequences, causal)
    rows_of: dict[int, set[tuple[int, int]]] = {}
    in_row: dict[tuple[int, int], set[int]] = {}
    for index, batch in enumerate(batches):
        assert len(batch.tokens) <= rows
        for number, (row, _) in batch.paths.items():
            rows_of.setdefault(examples[number], set()).add((index, row))
            in_row.setdefault((index, row), set()).add(examples[number])
    assert all(len(where) == 1 for where in rows_of.values())
    for (index, row), found in in_row.items():
        columns = {c for where, path in batches[index].paths.values() if where == row for c in path}
        assert len(found) == 1 or len(columns) <= row_tokens


def test_what_sequences_share_is_there_once() -> None:
    (batch,) = pack(SEQUENCES, range(len(SEQUENCES)), True, 1)
    check([batch], SEQUENCES, True)
    # (1), (3, 3, 3), and (5, 6) with 9 and 7, 8, 2 below it.
    assert batch.tokens.numel() == 1 + 3 + 2 + 1 + 3
    assert batch.paths[0] == batch.paths[2]


def test_masked_sequences_share_only_if_they_are_equal() -> None:
    (batch,) = pack(SEQUENCES, range(len(SEQUENCES)), False, 1)
    check([batch], SEQUENCES, False)
    assert batch.tokens.numel() == sum(map(len, set(SEQUENCES)))


def test_an_oversize_example_has_a_row_of_its_own_and_the_longest_rows_come_first() -> None:
    sequences = ((1, 2), (3,) * 9, (3,) * 4, (4,))
    batches = pack(sequences, (0, 1, 1, 2), True, 1, row_tokens=3)
    assert [sorted(batch.paths) for batch in batches] == [[1, 2], [0], [3]] or [
        sorted(batch.paths) for batch in batches
    ] == [[1, 2], [0, 3]]
    assert [batch.tokens.shape[1] for batch in batches] == sorted(
        (batch.tokens.shape[1] for batch in batches), reverse=True
    )
