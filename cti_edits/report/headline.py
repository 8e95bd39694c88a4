"""What came of an edit, in words: the held-out figure first, and never the calibration figure alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement
from cti_edits.report.words import p_value, percent, points, points_interval

Tone = Literal["better", "worse", "open"]


@dataclass(frozen=True)
class Headline:
    """A verdict.

    Attributes:
        tone: which way it goes; "open" where nothing was found or measured.
        verdict: a few words.
        sentences: what it rests on.
    """

    tone: Tone
    verdict: str
    sentences: tuple[str, ...]


def headline(edit: Edit) -> Headline:
    """The verdict on an edit, from what its manifest has."""
    results = edit.results
    sentences = []
    if not edit.edits:
        sentences.append("The edit is empty: nothing that was tried beat the base model.")
    if results.test is not None:
        sentences.append(f"On {_rows(results.test)} that the search did not see, {_change(results.test)}.")
    if results.calibration is not None:
        sentences.append(
            f"On the {_rows(results.calibration)} that chose the edit, {_change(results.calibration)}. The best of "
            "many on the rows that chose it looks better than it is."
        )
    if results.reported is not None:
        one = results.reported
        sentences.append(
            f"Reported by {one.source} and not measured here: {percent(one.baseline)} without, {percent(one.edited)} "
            "with the edit."
        )
    tone, verdict = _verdict(edit)
    return Headline(tone, verdict, tuple(sentences))


def _verdict(edit: Edit) -> tuple[Tone, str]:
    test = edit.results.test
    if not edit.edits:
        return "open", "No edit was found"
    if test is None:
        return "open", "Not measured on rows that the search did not see"
    if test.ci95 is None:
        return "open", f"Held out: {percent(test.baseline)} → {percent(test.edited)}, without an interval"
    if test.ci95[0] > 0:
        return "better", f"Better: {percent(test.baseline)} → {percent(test.edited)} on held-out rows"
    if test.ci95[1] < 0:
        return "worse", f"Worse: {percent(test.baseline)} → {percent(test.edited)} on held-out rows"
    return "open", f"No evidence of a difference: {percent(test.baseline)} → {percent(test.edited)} on held-out rows"


def _rows(measured: Measurement) -> str:
    return f"{measured.n:,} row{'' if measured.n == 1 else 's'}"


def _change(measured: Measurement) -> str:
    text = f"accuracy goes from {percent(measured.baseline)} to {percent(measured.edited)}, "
    text += points(measured.edited - measured.baseline)
    if measured.ci95 is not None:
        text += f" (95 % interval {points_interval(*measured.ci95)})"
    if measured.p_value is not None:
        text += f", exact McNemar p = {p_value(measured.p_value)}"
    return text
