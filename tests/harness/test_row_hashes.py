"""Hashes that tell rows by their contents, and how a manifest has them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import hash_string

from cti_edits.harness.row_hashes import DIGITS, doc_hash, joined, split

HASHES = st.frozensets(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=8)


@given(HASHES)
def test_what_a_manifest_records_is_read_back(hashes: frozenset[str]) -> None:
    recorded = joined(hashes)
    assert split(recorded) == {one[:DIGITS] for one in hashes}
    assert joined(split(recorded)) == recorded


def test_the_record_is_ascending_with_each_once() -> None:
    first, second = "b" * 64, "a" * 64
    same_digits = "a" * DIGITS + "c" * (64 - DIGITS)
    assert joined(frozenset({first, second, same_digits})) == "a" * DIGITS + "b" * DIGITS
    assert joined(frozenset()) == ""
    assert split("") == frozenset()


def test_a_row_is_hashed_as_lm_eval_writes_it() -> None:
    """Two blanks of indentation, letters as they are, and what JSON has not as text."""
    assert doc_hash({"q": "é", "n": 1}) == hash_string('{\n  "q": "é",\n  "n": 1\n}')
    assert doc_hash({"at": datetime.date(2026, 1, 2)}) == hash_string('{\n  "at": "2026-01-02"\n}')


@pytest.mark.parametrize("other", [{"q": "a", "n": 2}, {"n": 1, "q": "a"}, {"q": "a"}, {"q": "a", "n": "1"}])
def test_another_row_has_another_hash(other: dict[str, object]) -> None:
    assert doc_hash(other) != doc_hash({"q": "a", "n": 1})
