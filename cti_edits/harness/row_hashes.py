"""Hashes that identify a task's rows by their contents (lm-eval's ``doc_hash``), and their form in a manifest."""

from __future__ import annotations

import json

DIGITS = 12
"""Number of digits of each row's hash in a manifest."""


def doc_hash(row: object) -> str:
    """lm-eval's ``doc_hash`` of a row: sha256 of its content as JSON."""
    from lm_eval.utils import handle_non_serializable, hash_string

    return str(hash_string(json.dumps(row, indent=2, default=handle_non_serializable, ensure_ascii=False)))


def split(recorded: str) -> frozenset[str]:
    """The first digits of each row's hash, of a manifest's ``search.row_hashes``."""
    return frozenset(recorded[start : start + DIGITS] for start in range(0, len(recorded), DIGITS))


def joined(hashes: frozenset[str]) -> str:
    """What a manifest records: the first digits of each hash, ascending, each once."""
    return "".join(sorted({digest[:DIGITS] for digest in hashes}))
