"""What came of an edit, in words: the held-out figure first, and never the calibration figure alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement, Results
from cti_edits.report.measurements import bbc_cv_text, cut_short_text, label_bias_text
from cti_edits.report.words import p_value, percent, points, points_interval
from cti_edits.stats import Word

NOT_MEASURED: Final = "not measured"

Tone = Literal["no edit", "not measured"] | Word


@dataclass(frozen=True)
class Headline:
    """A verdict.

    Attributes:
        word: the verdict in a word; or that there is nothing to judge.
        title: a few words more.
        sentences: what it rests on.
    """

    word: Tone
    title: str
    sentences: tuple[str, ...]


def headline(edit: Edit) -> Headline:
    """The verdict on an edit, from what its manifest has."""
    word, title = _verdict(edit)
    return Headline(word, title, tuple(_sentences(edit)))


def _verdict(edit: Edit) -> tuple[Tone, str]:
    test = edit.results.test
    if not edit.edits:
        return "no edit", "No edit was found"
    if test is None:
        return NOT_MEASURED, "Not measured on rows that the search did not see"
    accuracies = f"{percent(test.baseline)} → {percent(test.edited)} on {_rows(test, 'held-out row')}"
    verdict = test.verdict()
    if verdict is None:
        return NOT_MEASURED, f"{accuracies}, not compared row by row"
    said = "no evidence of a difference" if verdict.word == "no evidence" else verdict.word
    return verdict.word, f"{said[0].upper()}{said[1:]}: {accuracies}"


def _sentences(edit: Edit) -> Iterator[str]:
    results = edit.results
    if not edit.edits:
        yield "The edit is empty: nothing that was tried beat the base model."
    if results.test is not None:
        verdict = results.test.verdict() if edit.edits else None
        why = f": {verdict.reason}" if verdict else ""
        yield f"On {_rows(results.test)} that the search did not see, {_change(results.test)}{why}."
    if results.label_bias is not None and results.label_bias.does_as_well:
        yield f"Rather than the edit, correct the labels: {label_bias_text(results.label_bias)}."
    if results.confirmation is not None:
        yield (
            f"On {_rows(results.confirmation, 'fresh row')} that chose among the best few, "
            f"{_change(results.confirmation)}."
        )
    if results.calibration is not None:
        yield (
            f"On the {_rows(results.calibration)} that chose the edit, {_change(results.calibration)}. The best of "
            "many on the rows that chose it looks better than it is."
        )
    if edit.search is not None and edit.search.time_budget is not None:
        yield cut_short_text(edit.search.time_budget)
    yield from _without_rows(results)


def _without_rows(results: Results) -> Iterator[str]:
    """What there is beside measurements: an estimate, and what a publication says."""
    if results.bbc_cv is not None:
        yield f"By BBC-CV, {bbc_cv_text(results.bbc_cv)}."
    if results.reported is not None:
        one = results.reported
        yield (
            f"Reported by {one.source} and not measured here: {percent(one.baseline)} without, {percent(one.edited)} "
            "with the edit."
        )


def _rows(measured: Measurement, what: str = "row") -> str:
    return f"{measured.n:,} {what}{'' if measured.n == 1 else 's'}"


def _change(measured: Measurement) -> str:
    text = f"accuracy goes from {percent(measured.baseline)} to {percent(measured.edited)}, "
    text += points(measured.edited - measured.baseline)
    if measured.ci95 is not None:
        text += f" (95 % interval {points_interval(*measured.ci95)})"
    if measured.p_value is not None:
        text += f", exact McNemar p = {p_value(measured.p_value)}"
    return text
