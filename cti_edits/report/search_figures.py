"""Figures of how an edit was found: what was tried, what it cost, singular values against their gradients."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cti_edits.report.compute import THIS, SystemCost
from cti_edits.report.figures import ACCENT, INK, QUIET, Figure, drawn, log_x_axis, name_text, percent_axis
from cti_edits.report.words import percent
from cti_edits.search.details import SearchDetails, TriedCandidate
from cti_edits.search.explanation import MatrixGradients

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

AXES = {"ρ": "ρ", "directions": "N"}
"""By the heading of what candidates differ in along an axis, what the axis is called."""

MOST_LINES = 100
"""Of candidates that are drawn: the winner's, and those whose best is best."""
MOST_OF_LINE = 100
"""Points of a line."""
MOST_POINTS = 1200
"""Of singular values that are drawn: those with the largest gradients, and some of the others."""


def tried_figure(search: SearchDetails) -> Figure | None:
    """Accuracy over what was tried: ρ, or N and f; None where candidates have neither, or there are none."""
    if not search.tried:
        return None
    headings = tuple(search.tried[0].cells)
    rows = [(*(one.cells.get(key, "") for key in headings), percent(one.accuracy)) for one in search.tried]
    lines = _lines(search.tried)
    if lines is None:
        return None
    axis, by_line, best_line = lines

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        shown = list(by_line.items())[:MOST_LINES]
        # The winner's line last, above the others.
        for name, line in sorted(shown, key=lambda item: item[0] == best_line):
            own = name == best_line
            axes.plot(
                *zip(*sorted(line[:MOST_OF_LINE]), strict=True), "o-",
                color=ACCENT if own else QUIET, linewidth=2.4 if own else 1.0, markersize=6 if own else 3,
                alpha=1.0 if own else 0.55, label=name_text(name) if own else None,
            )  # fmt: skip
        axes.axhline(search.unedited, color=INK, linestyle="--", linewidth=1.2, label="base")
        if len({x for line in by_line.values() for x, _ in line}) > 1:
            log_x_axis(axes)
        axes.set_xlabel(axis)
        axes.margins(y=0.15)
        percent_axis(axes.yaxis)
        canvas.legend(loc="outside upper center", ncols=2)

    said = "No candidate beat the base." if best_line is None else f"The winner's line, {best_line}, is marked."
    return drawn(
        "tried",
        f"Accuracy over {axis}",
        f"Of {len(search.tried):,} candidates that were evaluated to the end, on the calibration rows. {said}",
        (*headings, "accuracy"),
        rows,
        draw,
    )


def compute_figure(systems: Sequence[SystemCost]) -> Figure | None:
    """Accuracy against forward passes; None of one system by itself.

    Where no accuracy of the others is known, on a task or a model that is not the paper's, the passes alone.
    """
    if len(systems) < 2:
        return None
    known = all(one.accuracy is not None for one in systems)
    below = names_below(systems)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for number, one in enumerate(systems):
            colour = ACCENT if one.name == THIS else QUIET
            place = one.accuracy if known and one.accuracy is not None else float(number)
            axes.plot([one.passes], [place], "o", color=colour, markersize=8)
            if known:
                _name(axes, one, place, one.name in below)
        axes.margins(x=0.25, y=0.2)
        axes.set_xlabel("forward passes of one example")
        log_x_axis(axes)
        if known:
            percent_axis(axes.yaxis)
        else:
            axes.set_yticks(range(len(systems)), [one.name for one in systems])
            axes.set_ylim(len(systems) - 0.5, -0.5)

    return drawn(
        "compute",
        "Accuracy against compute" if known else "Compute",
        "Forward passes until the edit is found, without the test part. Those of the paper's systems are as the paper "
        "counts, on a task and a model of this size"
        + ("; their accuracies are the paper's. " if known else ". ")
        + ("A search counts at most: with every candidate evaluated to the end." if _has_this(systems) else ""),
        ("system", "forward passes", "accuracy", "accuracy is"),
        [
            (one.name, f"{one.passes:,.0f}", "" if one.accuracy is None else percent(one.accuracy), one.source)
            for one in systems
        ],
        draw,
    )


def _has_this(systems: Sequence[SystemCost]) -> bool:
    return any(one.name == THIS for one in systems)


def sigma_figure(gradients: MatrixGradients) -> Figure:
    """Singular values against the gradient of the loss by each, of one matrix."""
    points = list(zip(gradients.sigma, gradients.gradient, gradients.changed, strict=True))
    shown = _thinned(points)
    where = str(gradients.target) + (f", K = {gradients.clusters}" if gradients.clusters > 1 else "")

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for own, colour, label in ((False, QUIET, "stays"), (True, ACCENT, "changed by the edit")):
            those = [(sigma, gradient) for sigma, gradient, changed in shown if changed is own]
            if those:
                axes.plot(*zip(*those, strict=True), "o", color=colour, markersize=3.4, alpha=0.75, label=label)
        axes.axhline(0, color=INK, linewidth=0.8)
        if all(sigma > 0 for sigma, _, _ in shown):
            log_x_axis(axes)
        axes.set_xlabel("singular value σ")
        axes.set_ylabel("gradient g")
        if any(gradients.changed):
            canvas.legend(loc="outside upper center", ncols=2)

    of_all = "" if len(shown) == len(points) else f" Drawn are {len(shown):,} of {len(points):,}."
    return drawn(
        "sigma",
        f"Singular values and their gradients: {where}",
        f"Where g is below 0, a larger σ makes the loss smaller, and where it is above 0, a smaller one.{of_all}",
        ("σ", "g", "changed"),
        [(f"{sigma:.5g}", f"{gradient:.4g}", "yes" if changed else "") for sigma, gradient, changed in shown],
        draw,
    )


def _thinned(points: list[tuple[float, float, bool]]) -> list[tuple[float, float, bool]]:
    """All of them if they are few; else those that change, those with the largest gradients, and every n-th other."""
    ordered = sorted(points, key=lambda one: (not one[2], -abs(one[1])))
    first, rest = ordered[: MOST_POINTS // 2], ordered[MOST_POINTS // 2 :]
    step = max(1, -(-len(rest) // (MOST_POINTS // 2)))
    return first + rest[::step]


def _lines(tried: Sequence[TriedCandidate]) -> tuple[str, dict[str, list[tuple[float, float]]], str | None] | None:
    """What is along the axis, and for each line of candidates that differ in that alone, its name and its points.

    ρ of each matrix and K, or the number N of directions for each f. None where a candidate has neither.
    """
    key = next((one for one in AXES if one in tried[0].cells), None)
    values = [_positive(one.cells.get(key or "", "")) for one in tried]
    if key is None:
        return None
    by_line: dict[str, list[tuple[float, float]]] = defaultdict(list)
    best = None
    for one, value in zip(tried, values, strict=True):
        if value is None:
            return None
        name = ", ".join(_cell(heading, text) for heading, text in one.cells.items() if heading != key) or "N"
        by_line[name].append((value, one.accuracy))
        best = name if one.best else best
    return AXES[key], by_line, best


def _positive(text: str) -> float | None:
    """A number that a logarithmic axis has; a plugin's cells may be anything."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _cell(heading: str, text: str) -> str:
    return text if heading == "matrix" else f"{heading} {text}" if heading == "layer" else f"{heading} = {text}"


def names_below(systems: Sequence[SystemCost]) -> set[str]:
    """The systems whose names stand under their points, since a name above a near point is in their way."""
    accuracies = [one.accuracy for one in systems if one.accuracy is not None]
    height = (max(accuracies) - min(accuracies) if accuracies else 0.0) or 1.0
    above: list[tuple[float, float]] = []
    below = set()
    for one in systems:
        place = math.log10(max(one.passes, 1.0)), (one.accuracy or 0.0) / height
        if any(abs(place[0] - x) < 1 and abs(place[1] - y) < 0.15 for x, y in above):
            below.add(one.name)
        else:
            above.append(place)
    return below


def _name(axes: Axes, one: SystemCost, place: float, below: bool) -> None:
    """A system's name above its point, or below it."""
    axes.annotate(
        one.name,
        (one.passes, place),
        xytext=(0, -7 if below else 7),
        textcoords="offset points",
        va="top" if below else "bottom",
        color=ACCENT if one.name == THIS else INK,
        fontsize=8.5,
        ha="center",
    )
