"""How many calibration rows a search needs: 10 to 500, several draws of each (the paper's appendix A.9)."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cti_edits.errors import EditError
from cti_edits.pictures import GREY, colour
from cti_edits.search.gradients import sigma_gradients
from cti_edits.search.scores import matrix_scores
from cti_edits.search.selectors import kept_matrices
from cti_edits.studies.context import StudyContext
from cti_edits.studies.held_out_search import ACCURACY, Winner, rank_cut_trials, search
from cti_edits.studies.study import Defaults, Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (10, 20, 50, 100, 200, 500)
"""Numbers of calibration rows; of these, those up to the question's."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Winner):
    """What a search on one draw of so many rows finds.

    Attributes:
        seed: of the draw.
        samples: rows that are drawn.
    """

    NAME: ClassVar[str] = "draw"
    KEY: ClassVar[tuple[str, ...]] = ("samples", "seed")

    seed: int
    samples: int


def units(context: StudyContext) -> Iterator[Unit]:
    """Every draw of every size, the small ones first. Sizes that the validation part has no rows for are left out.

    Raises:
        EditError: no size is left.
    """
    there, most = context.validation_rows, context.question.samples
    if most < SIZES[0]:
        raise EditError(f"samples: expected {SIZES[0]} or more, got {most}")
    if there < SIZES[0]:
        raise EditError(
            f"{context.question.task}: expected {SIZES[0]} rows or more in its validation part, got {there}"
        )
    for samples in SIZES:
        if samples <= min(there, most):
            for seed in context.seeds:
                yield Unit((Drawn.NAME, samples, seed), functools.partial(_drawn, context, samples, seed))


def _drawn(context: StudyContext, samples: int, seed: int) -> Drawn:
    targets, clusters, rows = context.targets(), context.question.clusters, context.calibration(seed, samples)
    directions = sigma_gradients(context.session, rows, clusters, targets, context.cache, context.progress)
    kept = kept_matrices(matrix_scores(directions, clusters, targets), context.question.top_q)
    found = search(context, rows, rank_cut_trials(context, kept))
    return Drawn(**vars(found), seed=seed, samples=samples)


def table(records: Sequence[Record]) -> Table:
    """A line for each number of rows."""
    rows = []
    for samples, those in _by_size(records).items():
        held_out = [100 * drawn.edited for drawn in those]
        spread = f"{statistics.stdev(held_out):.1f}" if len(held_out) > 1 else ""
        rows.append(
            (
                str(samples),
                str(len(those)),
                f"{statistics.fmean(100 * drawn.calibration_edited for drawn in those):.1f} %",
                f"{100 * those[0].baseline:.1f} %",
                f"{statistics.fmean(held_out):.1f} %",
                spread,
                f"{min(held_out):.1f} to {max(held_out):.1f} %",
                f"{sum(drawn.matrix is None for drawn in those)}",
            )
        )
    headings = ("rows", "draws", "calibration", "held-out base", "mean", "deviation", "range", "no edit")
    return Table(headings, tuple(rows))


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """Held-out accuracy of every draw, and the means."""
    by_size = _by_size(records)
    axes = figure.subplots()
    for samples, those in by_size.items():
        axes.plot([samples] * len(those), [100 * drawn.edited for drawn in those], "o", color=colour(0), alpha=0.6)
    means = [statistics.fmean(100 * drawn.edited for drawn in those) for those in by_size.values()]
    axes.plot(list(by_size), means, "-", color=colour(1), label="mean of the draws")
    base = next(iter(by_size.values()))[0].baseline
    axes.axhline(100 * base, color=GREY, linewidth=0.8, linestyle="dashed", label="unedited")
    axes.set(xscale="log", xlabel="calibration rows", ylabel=ACCURACY)
    axes.set_xticks(list(by_size), labels=list(map(str, by_size)))
    axes.set_xticks([], minor=True)
    axes.legend(loc="best")


def _by_size(records: Sequence[Record]) -> dict[int, list[Drawn]]:
    every = [record for record in records if isinstance(record, Drawn)]
    return {size: [one for one in every if one.samples == size] for size in dict.fromkeys(one.samples for one in every)}


STUDY = Study(
    "samples",
    "How many calibration rows a search needs",
    (Drawn,),
    units,
    table,
    draw,
    Defaults(samples=SIZES[-1], seeds=5),
)
