"""Figures of matrices over the layers: their scores, and how many directions of each an edit changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.report.figures import ACCENT, INK, PAPER, WIDTH, Figure, drawn, name_text
from cti_edits.search.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_LINES = 24
"""Of a heat map. Where there are more, all experts of a block are one; what is more even then is in the table alone."""
MOST_CELLS = 2000
"""Of a heat map, likewise."""


@dataclass(frozen=True)
class _Cell:
    """A matrix in a heat map.

    Attributes:
        matrix: which one.
        clusters: K, where lines differ by it.
        value: how dark, from 0 to 1.
        marked: whether it has a dot.
    """

    matrix: MatrixId
    clusters: int | None
    value: float
    marked: bool = False

    def line(self, experts: bool) -> tuple[int, str, str, int]:
        """What it shares with those beside it, in the order of the lines."""
        expert = self.matrix.expert if experts and self.matrix.expert is not None else -1
        return self.clusters or 0, self.matrix.stack or "", self.matrix.matrix, expert


def scores_figure(explanation: Explanation) -> Figure | None:
    """The scores of all matrices over the layers; None where nothing was scored."""
    scores = explanation.scores
    if not scores:
        return None
    # Matrices are chosen among those of one K, and scores with different K are of different sizes.
    of_k: dict[int, list[float]] = defaultdict(list)
    for one in scores:
        of_k[one.clusters].append(one.score)
    ends = {clusters: (min(values), max(values)) for clusters, values in of_k.items()}
    cells = [
        _Cell(
            one.target,
            one.clusters if len(of_k) > 1 else None,
            _share_of(one.score, *ends[one.clusters]),
            one.kept,
        )
        for one in scores
    ]
    return _heat_map(
        "scores",
        "Score of every matrix",
        f"The score is {explanation.scored_by}. {'For each K, the' if len(of_k) > 1 else 'The'} stronger the colour "
        f"the lower; a dot marks what is {explanation.kept_for}.",
        ("matrix", "layer", "K", "score", explanation.kept_for),
        [
            (one.target.matrix, one.target.place, str(one.clusters), f"{one.score:.4g}", "yes" if one.kept else "")
            for one in sorted(scores, key=lambda one: (one.clusters, one.score))
        ],
        cells,
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
        f"Number of singular values that the edit changes, by matrix and layer; the strongest colour has {most:,}.",
        ("matrix", "layer", "directions"),
        [(one.matrix, one.id.place, f"{len(one.index):,}") for one in changed],
        [_Cell(one.id, None, 0.15 + 0.85 * len(one.index) / most) for one in changed],
    )


def _share_of(score: float, low: float, high: float) -> float:
    """0.05 for the highest score, 1 for the lowest."""
    return 1.0 if low == high else 0.05 + 0.95 * (high - score) / (high - low)


def _line_text(line: tuple[int, str, str, int]) -> str:
    clusters, stack, matrix, expert = line
    parts = (stack, matrix, f"expert {expert}" if expert >= 0 else "")
    return " ".join(filter(None, parts)) + (f", K = {clusters}" if clusters else "")


def _heat_map(
    key: str,
    title: str,
    description: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    cells: Collection[_Cell],
) -> Figure:
    """Cells as dark as their value: the accent more or less opaque, so that it suits light and dark."""
    experts = len({one.line(experts=True) for one in cells}) <= MOST_LINES
    if not experts:
        description += " Of the experts of a block, the strongest colour is shown."
    lines = sorted({one.line(experts) for one in cells})[:MOST_LINES]
    dark, marked = _darkest(cells, lines, experts)
    layers = [layer for _, layer in dark]

    def draw(canvas: Canvas) -> None:
        from matplotlib.collections import PolyCollection
        from matplotlib.colors import to_rgba
        from matplotlib.ticker import MaxNLocator

        axes = canvas.subplots()
        squares = [
            [(layer + right, line + below) for right, below in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
            for line, layer in dark
        ]
        # In one go: a thousand patches by themselves take a second.
        axes.add_collection(PolyCollection(squares, facecolors=[to_rgba(ACCENT, value) for value in dark.values()]))
        if marked:
            axes.plot(
                [layer for _, layer in marked], [line for line, _ in marked],
                "o", color=PAPER, markeredgecolor=INK, markersize=5, linestyle="none",
            )  # fmt: skip
        axes.set_xlim(min(layers) - 0.5, max(layers) + 0.5)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_yticks(range(len(lines)), [name_text(_line_text(line)) for line in lines])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False)
        axes.set_xlabel("layer")

    return drawn(key, title, description, headings, rows, draw, (WIDTH, min(6.0, 1.0 + 0.34 * max(3, len(lines)))))


def _darkest(
    cells: Iterable[_Cell], lines: Sequence[tuple[int, str, str, int]], experts: bool
) -> tuple[dict[tuple[int, int], float], list[tuple[int, int]]]:
    """By number of the line and layer the darkest value, and where there is a dot; at most `MOST_CELLS`."""
    number = {line: place for place, line in enumerate(lines)}
    dark: dict[tuple[int, int], float] = {}
    marked: set[tuple[int, int]] = set()
    for one in cells:
        line = number.get(one.line(experts))
        if line is None:
            continue
        place = (line, one.matrix.layer)
        dark[place] = max(one.value, dark.get(place, 0.0))
        if one.marked:
            marked.add(place)
    shown = dict(sorted(dark.items())[:MOST_CELLS])
    return shown, sorted(marked & shown.keys())
