"""Figures of what an edit does: accuracies with their intervals, and which labels are predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.report.figures import ACCENT, QUIET, Figure, drawn, name_text, percent_axis
from cti_edits.report.report_data import LabelShares
from cti_edits.report.words import interval, percent
from cti_edits.stats import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_LABELS = 8
"""Labels that are drawn; the table has all."""

Bar = tuple[str, str, float, tuple[float, float] | None]
"""Of which rows, of which model, an accuracy and its interval."""


def accuracy_figure(edit: Edit) -> Figure | None:
    """Every accuracy that the manifest has, without and with the edit; None where it has none."""
    bars = list(_bars(edit))
    if not bars:
        return None
    majority = next((one.majority_class for one in (edit.results.test, edit.results.calibration) if one), None)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for place, (_, model, accuracy, ends) in enumerate(bars):
            colour = ACCENT if model == "edited" else QUIET
            if ends is not None:
                axes.plot(ends, (place, place), color=colour, linewidth=2.4, solid_capstyle="round")
            axes.plot([accuracy], [place], "o", color=colour, markersize=8)
        if majority is not None:
            axes.axvline(majority, color=QUIET, linestyle=":", linewidth=1.4)
        axes.set_yticks(range(len(bars)), [f"{rows}\n{model}" for rows, model, _, _ in bars])
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.1)
        percent_axis(axes.xaxis)

    described = "Accuracy without and with the edit; a line is a 95 % interval"
    if majority is not None:
        described += "; the dotted line is always giving the most frequent answer"
    rows = [(rows, model, percent(value), "" if ends is None else interval(*ends)) for rows, model, value, ends in bars]
    return drawn(
        "accuracy", "Accuracy", f"{described}.", ("rows", "model", "accuracy", "95 % interval"), rows, draw,
        (4.8, 0.9 + 0.55 * len(bars)),
    )  # fmt: skip


def _bars(edit: Edit) -> Iterator[Bar]:
    for measured, rows in ((edit.results.test, "held out"), (edit.results.calibration, "calibration")):
        if measured is not None:
            for model, accuracy in (("base", measured.baseline), ("edited", measured.edited)):
                yield rows, model, accuracy, wilson_interval(round(accuracy * measured.n), measured.n)
    reported = edit.results.reported
    if reported is not None:
        yield "reported", "base", reported.baseline, None
        yield "reported", "edited", reported.edited, None


def shares_figure(shares: LabelShares) -> Figure:
    """How often each label is right, and is predicted before and after."""
    count = min(len(shares.labels), MOST_LABELS)
    series = (("right answer", shares.gold, "none"), ("base", shares.base, QUIET), ("edited", shares.edited, ACCENT))

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for number, (what, values, colour) in enumerate(series):
            places = [place + (number - 1) * 0.27 for place in range(count)]
            edge = QUIET if colour == "none" else colour
            axes.barh(places, values[:count], height=0.25, color=colour, edgecolor=edge, label=what)
        axes.set_yticks(range(count), [name_text(label) for label in shares.labels[:count]])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        percent_axis(axes.xaxis)
        canvas.legend(loc="outside upper center", ncols=3)

    return drawn(
        "shares",
        "Predicted labels",
        f"Share of {shares.rows:,} calibration rows of which each label is the right answer, and to which the models "
        "give it.",
        ("label", "right answer", "base", "edited"),
        [
            (label, percent(gold), percent(base), percent(edited))
            for label, gold, base, edited in zip(shares.labels, shares.gold, shares.base, shares.edited, strict=True)
        ],
        draw,
        (4.8, 1.1 + 0.7 * count),
    )
