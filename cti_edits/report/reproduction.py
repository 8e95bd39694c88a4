"""What ``cti-edits reproduce`` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cti_edits.errors import printable
from cti_edits.report.listing import interval_text, print_columns
from cti_edits.search.reproduction import Grade, Reproduction

WORDS: Mapping[Grade, str] = {
    "bytes": "reproduced to the byte: the same manifest, but for what says when and with what it was made",
    "winner": "reproduced: the same change of the same matrices",
    "figures": "reproduced within the intervals: another winner, each accuracy in the 95 % interval of the recorded",
    "not reproduced": "not reproduced",
}


def print_reproduction(found: Reproduction) -> None:
    """How much is the same, the figures side by side, and what is not as it was recorded."""
    print(WORDS[found.grade] + ("" if found.edit is not None else ": rows or base are others, so nothing was run"))
    if found.figures:
        print_columns(
            ("rows", "model", "recorded", "95 % interval", "now", ""),
            [
                (
                    one.rows,
                    one.model,
                    f"{100 * one.recorded:.1f} %",
                    interval_text(*one.ci95),
                    f"{100 * one.now:.1f} %",
                    "" if one.within else "outside",
                )
                for one in found.figures
            ],
            right=("recorded", "95 % interval", "now"),
        )
    for line in _reasons(found):
        print(line)


def _reasons(found: Reproduction) -> Iterator[str]:
    for one in found.changed:
        yield f"{one.what}: recorded {printable(str(one.recorded), 200)}, now {printable(str(one.now), 200)}"
    if found.grade != "bytes" and not found.changed:
        yield "Nothing that is recorded differs: other hardware, or a part of the search that varies from run to run."
