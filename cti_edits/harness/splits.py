"""The paper's protocol: the first 20 % of the rows are the validation part, the rest the test part."""

from __future__ import annotations

VALIDATION_SHARE = 0.2


def validation_count(rows: int) -> int:
    """How many of ``rows`` rows, the first ones, are the validation part: ⌊0.2 · rows⌋, as in LASER."""
    return int(VALIDATION_SHARE * rows)
