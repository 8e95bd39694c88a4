"""Figures of what an edit does: accuracies with their intervals, and which labels are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement, Results
from cti_edits.report.figures import ACCENT, QUIET, WIDTH, Figure, drawn, name_text, percent_axis
from cti_edits.report.words import interval, percent
from cti_edits.search.details import GivenAnswers
from cti_edits.stats import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_LABELS = 8
"""Labels that are drawn; the table has all."""


@dataclass(frozen=True)
class _Line:
    """A line of the figure of accuracies.

    Attributes:
        rows: which rows they are of.
        model: of which model.
        accuracies: one, or those of several draws.
        ends: the 95 % interval, of one.
    """

    rows: str
    model: str
    accuracies: tuple[float, ...]
    ends: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The accuracies for the table."""
        return ", ".join(map(percent, self.accuracies))


def accuracy_figure(edit: Edit) -> Figure | None:
    """Every accuracy that the manifest has, without and with the edit; None where it has none."""
    lines = list(_lines(edit.results))
    if not lines:
        return None
    majority = next((one.majority_class for one in (edit.results.test, edit.results.calibration) if one), None)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for place, line in enumerate(lines):
            colour = ACCENT if line.model == "edited" else QUIET
            if line.ends is not None:
                axes.plot(line.ends, (place, place), color=colour, linewidth=2.4, solid_capstyle="round")
            many = len(line.accuracies) > 1
            axes.plot(
                line.accuracies, [place] * len(line.accuracies), "o", color=colour,
                markersize=5 if many else 8, alpha=0.6 if many else 1.0,
            )  # fmt: skip
        if majority is not None:
            axes.axvline(majority, color=QUIET, linestyle=":", linewidth=1.4)
        axes.set_yticks(range(len(lines)), [f"{line.model}\n{line.rows}" for line in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.1)
        percent_axis(axes.xaxis)

    described = "Accuracy without and with the edit; a line is a 95 % interval"
    if majority is not None:
        described += "; the dotted line is always giving the most frequent answer"
    rows = [(line.rows, line.model, line.text, "" if line.ends is None else interval(*line.ends)) for line in lines]
    return drawn(
        "accuracy", "Accuracy", f"{described}.", ("rows", "model", "accuracy", "95 % interval"), rows, draw,
        (WIDTH, 0.9 + 0.5 * len(lines)),
    )  # fmt: skip


def _lines(results: Results) -> Iterator[_Line]:
    """Held out first, with what stands beside the edit there."""
    if results.test is not None:
        yield from _both(results.test, "held out")
        if results.control is not None:
            yield _Line("held out", "random edits", results.control.edited)
        if results.label_bias is not None:
            corrected, n = results.label_bias.corrected, results.label_bias.n
            yield _Line("held out", "labels corrected", (corrected,), wilson_interval(round(corrected * n), n))
    if results.confirmation is not None:
        yield from _both(results.confirmation, "compared again")
    if results.calibration is not None:
        yield from _both(results.calibration, "calibration")
    if results.reported is not None:
        yield _Line("reported", "base", (results.reported.baseline,))
        yield _Line("reported", "edited", (results.reported.edited,))


def _both(measured: Measurement, rows: str) -> Iterator[_Line]:
    for model, accuracy in (("base", measured.baseline), ("edited", measured.edited)):
        yield _Line(rows, model, (accuracy,), wilson_interval(round(accuracy * measured.n), measured.n))


def given_answers(measured: Measurement | None) -> GivenAnswers | None:
    """How often each label was given, where that is recorded."""
    if measured is None or measured.labels is None:
        return None
    counts = (measured.baseline_answers, measured.edited_answers)
    if any(one is None or len(one) != len(measured.labels) or not sum(one) for one in counts):
        return None
    return GivenAnswers(measured.labels, counts[0] or (), counts[1] or ())


def answers_figure(given: GivenAnswers, rows: str) -> Figure:
    """How often each label is given before and after.

    Args:
        given: the counts.
        rows: which rows they are of, "held-out".
    """
    count = min(len(given.labels), MOST_LABELS)
    of_base, of_edited = _shares(given.baseline), _shares(given.edited)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for side, shares, colour, what in ((-1, of_base, QUIET, "base"), (1, of_edited, ACCENT, "edited")):
            places = [place + side * 0.2 for place in range(count)]
            axes.barh(places, shares[:count], height=0.36, color=colour, label=what)
        axes.set_yticks(range(count), [name_text(label) for label in given.labels[:count]])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        percent_axis(axes.xaxis)
        canvas.legend(loc="outside upper center", ncols=2)

    return drawn(
        "answers",
        "Labels that are given",
        f"Share of {sum(given.edited):,} {rows} rows to which the models give each label, before and after.",
        ("label", "base", "edited"),
        [
            (label, percent(base), percent(edited))
            for label, base, edited in zip(given.labels, of_base, of_edited, strict=True)
        ],
        draw,
        (WIDTH, 1.1 + 0.6 * count),
    )


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]
