from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.replay.memory import BatchSize, within_memory
from tests.support.small_searches import OUT_OF_MEMORY


@given(st.integers(1, 64), st.integers(1, 512), st.booleans())
def test_it_takes_less_until_it_is_one_example_with_nothing_kept(
    rows: int, row_tokens: int, recomputable: bool
) -> None:
    size = BatchSize(rows, row_tokens)
    seen = [(size.tokens, size.frugal)]
    while size.halve(several=size.row_tokens > 1, recomputable=recomputable):
        seen.append((size.tokens, size.frugal))
        assert size.rows == 1 or size.row_tokens == row_tokens
        assert not size.frugal or size.tokens == 1
    assert size.tokens == 1
    assert size.frugal is recomputable
    assert len(set(seen)) == len(seen)


def test_rows_of_one_example_each_are_not_shortened() -> None:
    size = BatchSize(2, 256)
    assert size.halve(several=True, recomputable=False)
    assert not size.halve(several=False, recomputable=False)
    assert (size.rows, size.row_tokens) == (1, 256)


def test_one_example_a_batch_is_said_once() -> None:
    size = BatchSize(4)
    assert size.one_example_a_batch()
    assert (size.rows, size.row_tokens) == (1, 1)
    assert not size.one_example_a_batch()


def test_it_runs_again_until_it_fits() -> None:
    size = BatchSize(8)

    def run() -> int:
        if size.rows > 2:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return size.rows

    def take_less() -> None:
        assert size.halve(False, False)

    assert within_memory(run, take_less) == 2


def test_other_errors_are_not_the_memorys() -> None:
    def run() -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(run, pytest.fail)


def test_where_it_cannot_take_less_it_ends() -> None:
    def run() -> None:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    def take_less() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within_memory(run, take_less)
