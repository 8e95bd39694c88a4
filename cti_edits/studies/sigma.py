"""Singular values against their gradients: every σ with its g (the paper's appendix A.6, figure 3)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cti_edits.pictures import colour, whole_numbers
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import DirectionGradients, direction_gradients
from cti_edits.search.directions import rounded
from cti_edits.studies.context import StudyContext
from cti_edits.studies.correlation import pearson, shown, spearman
from cti_edits.studies.study import Defaults, Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGITS = 9
"""Significant digits of what is written of a σ and a g."""

POINTS = 3000
"""How many directions are drawn at most; of more, evenly chosen ones."""


@dataclass(frozen=True, kw_only=True)
class Values(Record):
    """Every σ of a matrix, and the gradient of the loss by it.

    Attributes:
        seed: of the draw.
        clusters: K.
        matrix: role of the matrix.
        layer: its layer.
        sigma: the singular values, row block by row block, descending in each.
        gradients: of these.
    """

    NAME: ClassVar[str] = "matrix"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "clusters", "matrix", "layer")

    seed: int
    clusters: int
    matrix: str
    layer: int
    sigma: list[float]
    gradients: list[float]


def units(context: StudyContext) -> Iterator[Unit]:
    """Every matrix, draw by draw. One gradient pass measures all of a draw and K."""
    for seed in context.seeds:
        for clusters in context.question.clusters:
            yield from _of_pass(context, seed, clusters)


def _of_pass(context: StudyContext, seed: int, clusters: int) -> Iterator[Unit]:
    targets = context.targets()

    @functools.cache
    def gradients() -> DirectionGradients:
        rows = context.calibration(seed)
        return direction_gradients(context.session, rows, clusters, targets, context.cache, context.progress)

    def values(place: MatrixId) -> Values:
        blocks = gradients().blocks[place]
        return Values(
            seed=seed,
            clusters=clusters,
            matrix=place.matrix,
            layer=place.layer,
            sigma=[rounded(value, DIGITS) for block in blocks for value in block.spectrum.values.tolist()],
            gradients=[rounded(value, DIGITS) for block in blocks for value in block.gradients.tolist()],
        )

    for place in targets:
        yield Unit((Values.NAME, seed, clusters, place.matrix, place.layer), functools.partial(values, place))


def table(records: Sequence[Record]) -> Table:
    """A line for each draw and K over all matrices, then one for each matrix."""
    rows = []
    for (seed, clusters), those in _by_pass(records).items():
        parts = [("all", "", those)] + [(one.matrix, str(one.layer), [one]) for one in those]
        for matrix, layer, some in parts:
            sigma, gradients = _joined(some)
            both = shown(pearson(sigma, gradients)), shown(spearman(sigma, gradients))
            negative = sum(g < 0 for g in gradients) / len(gradients)
            rows.append((matrix, layer, str(clusters), str(seed), str(len(sigma)), *both, f"{100 * negative:.1f} %"))
    headings = ("matrix", "layer", "K", "seed", "directions", "Pearson", "Spearman", "g < 0")
    return Table(headings, tuple(rows), left=("matrix",))


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """Every σ against its g on the left, the correlations of each matrix on the right."""
    every = [record for record in records if isinstance(record, Values)]
    left, right = figure.subplots(1, 2)
    step = -(-sum(len(one.sigma) for one in every) // POINTS)
    smallest = min((abs(g) for one in every for g in one.gradients if g), default=1.0)
    largest = max((abs(g) for one in every for g in one.gradients), default=1.0)
    for number, role in enumerate(dict.fromkeys(one.matrix for one in every)):
        those = [one for one in every if one.matrix == role]
        sigma, gradients = (values[::step] for values in _joined(those))
        left.plot(sigma, gradients, ".", markersize=2, color=colour(number), alpha=0.5, label=role)
        for name, mark, correlation in (("Pearson", "o", pearson), ("Spearman", "x", spearman)):
            found = [(one.layer, correlation(one.sigma, one.gradients)) for one in those]
            points = [(layer, value) for layer, value in found if value is not None]
            label = f"{role}, {name}"
            right.plot(*zip(*points, strict=True), mark, color=colour(number), label=label) if points else None
    if any(value > 0 for one in every for value in one.sigma):
        left.set_xscale("log")
        left.set_xticks([], minor=True)
    left.set_yscale("symlog", linthresh=max(largest / 1e3, smallest))
    left.set(xlabel="σ", ylabel="g, the gradient of the loss by σ")
    left.legend(loc="best", markerscale=4)
    right.axhline(0, color="black", linewidth=0.8)
    whole_numbers(right.xaxis)
    right.set(xlabel="layer", ylabel="correlation of σ and g", ylim=(-1, 1))
    if right.get_legend_handles_labels()[1]:
        right.legend(loc="best")


def _by_pass(records: Sequence[Record]) -> dict[tuple[int, int], list[Values]]:
    every = [record for record in records if isinstance(record, Values)]
    passes = dict.fromkeys((one.seed, one.clusters) for one in every)
    return {which: [one for one in every if (one.seed, one.clusters) == which] for which in passes}


def _joined(those: Sequence[Values]) -> tuple[list[float], list[float]]:
    sigma = list(itertools.chain.from_iterable(one.sigma for one in those))
    return sigma, list(itertools.chain.from_iterable(one.gradients for one in those))


STUDY = Study(
    "sigma", "Singular values against their gradients", (Values,), units, table, draw, Defaults(test_rows=None)
)
