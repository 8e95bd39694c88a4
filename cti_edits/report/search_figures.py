"""Figures of how an edit was found: scores, what was tried, what it cost, singular values against their gradients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.report.compute import THIS, SystemCost
from cti_edits.report.figures import ACCENT, INK, QUIET, Figure, drawn, log_x_axis, name_text, percent_axis
from cti_edits.report.report_data import SearchDetails, TriedCandidate
from cti_edits.report.words import percent
from cti_edits.search.explanation import Explanation, MatrixGradients

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST_POINTS = 1200
"""Of singular values that are drawn: those with the largest gradients, and some of the others."""

Cells = Mapping[tuple[str, int], float]
"""From a line and a column of a heat map to a value."""


def scores_figure(explanation: Explanation) -> Figure | None:
    """The scores of all matrices over the layers; None where nothing was scored."""
    scores = explanation.scores
    if not scores:
        return None
    several = len({one.clusters for one in scores}) > 1
    names = {one: _line(one.target, one.clusters if several else None) for one in scores}
    by_line: dict[str, list[float]] = defaultdict(list)
    for one in scores:
        by_line[names[one]].append(one.score)
    # Scores with different K are of different sizes; each line of a K has its own scale.
    cells = {(names[one], one.target.layer): _share_of(one.score, by_line[names[one]]) for one in scores}
    kept = {(names[one], one.target.layer) for one in scores if one.kept}
    return _heat_map(
        "scores",
        "Score of every matrix",
        f"The score is {explanation.scored_by}. In each line, the darker the lower; a dot marks what is "
        f"{explanation.kept_for}.",
        ("matrix", "layer", "K", "score", explanation.kept_for),
        [
            (one.target.matrix, one.target.place, str(one.clusters), f"{one.score:.4g}", "yes" if one.kept else "")
            for one in scores
        ],
        cells,
        kept,
    )


def directions_figure(edit: Edit) -> Figure | None:
    """How many directions change, by matrix and layer; None of an edit without any."""
    changed = [one for one in edit.edits if isinstance(one, DirectionsEdit)]
    if not changed:
        return None
    most = max(len(one.index) for one in changed)
    return _heat_map(
        "directions",
        "Directions that change",
        f"Number of singular values that the edit changes, by matrix and layer; the darkest has {most:,}.",
        ("matrix", "layer", "directions"),
        [(one.matrix, one.id.place, f"{len(one.index):,}") for one in changed],
        {(_line(one.id, None), one.layer): 0.15 + 0.85 * len(one.index) / most for one in changed},
        set(),
    )


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
        for name, line in sorted(by_line.items(), key=lambda item: item[0] == best_line):
            own = name == best_line
            axes.plot(
                *zip(*sorted(line), strict=True), "o-", color=ACCENT if own else QUIET, linewidth=2.4 if own else 1.0,
                markersize=6 if own else 3, alpha=1.0 if own else 0.55, label=name_text(name) if own else None,
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

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for number, one in enumerate(systems):
            colour = ACCENT if one.name == THIS else QUIET
            place = one.accuracy if known and one.accuracy is not None else float(number)
            axes.plot([one.passes], [place], "o", color=colour, markersize=8)
            if known:
                _name(axes, one, place)
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
        [(f"{sigma:.5g}", f"{gradient:.4g}", "yes" if changed else "") for sigma, gradient, changed in shown[:200]],
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

    ρ of each matrix and K, or the number N of directions for each f.
    """
    if "ρ" in tried[0].cells:
        axis, key = "ρ", "ρ"
    elif "directions" in tried[0].cells:
        axis, key = "N", "directions"
    else:
        return None
    by_line: dict[str, list[tuple[float, float]]] = defaultdict(list)
    best = None
    for one in tried:
        name = ", ".join(_cell(heading, text) for heading, text in one.cells.items() if heading != key) or "N"
        by_line[name].append((float(one.cells[key]), one.accuracy))
        best = name if one.best else best
    return axis, by_line, best


def _cell(heading: str, text: str) -> str:
    return text if heading == "matrix" else f"{heading} {text}" if heading == "layer" else f"{heading} = {text}"


def _line(target: MatrixId, clusters: int | None) -> str:
    """A matrix without its layer."""
    parts = (target.stack or "", target.matrix, "" if target.expert is None else f"expert {target.expert}")
    return " ".join(filter(None, parts)) + ("" if clusters is None else f", K = {clusters}")


def _share_of(score: float, scores: Sequence[float]) -> float:
    """0.05 for the highest of the scores, 1 for the lowest."""
    low, high = min(scores), max(scores)
    return 1.0 if low == high else 0.05 + 0.95 * (high - score) / (high - low)


def _heat_map(
    key: str,
    title: str,
    description: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    cells: Cells,
    marked: set[tuple[str, int]],
) -> Figure:
    """Cells as dark as their value, from 0 to 1: the accent more or less opaque, so that it suits light and dark."""
    lines = list(dict.fromkeys(sorted(line for line, _ in cells)))
    layers = range(min(layer for _, layer in cells), max(layer for _, layer in cells) + 1)

    def draw(canvas: Canvas) -> None:
        from matplotlib.patches import Rectangle
        from matplotlib.ticker import MaxNLocator

        axes = canvas.subplots()
        for (line, layer), value in sorted(cells.items()):
            corner = (layer - 0.5, lines.index(line) - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=ACCENT, alpha=value, linewidth=0))
        if marked:
            axes.plot(
                [layer for _, layer in sorted(marked)], [lines.index(line) for line, _ in sorted(marked)],
                "o", color="white", markeredgecolor=INK, markersize=5, linestyle="none",
            )  # fmt: skip
        axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_yticks(range(len(lines)), [name_text(line) for line in lines])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False)
        axes.set_xlabel("layer")

    return drawn(key, title, description, headings, rows, draw, (4.8, min(6.0, 1.0 + 0.34 * max(3, len(lines)))))


def _name(axes: Axes, one: SystemCost, place: float) -> None:
    """A system's name beside its point."""
    axes.annotate(
        one.name,
        (one.passes, place),
        xytext=(0, 7),
        textcoords="offset points",
        color=ACCENT if one.name == THIS else INK,
        fontsize=8.5,
        ha="center",
    )
