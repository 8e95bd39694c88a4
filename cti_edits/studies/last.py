"""How many of the last singular values a score counts: 10, 20, 60, 100, or all (the paper's appendix A.4)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cti_edits.linalg.block_tails import TAIL
from cti_edits.linalg.spectrum import matrix_score
from cti_edits.pictures import GREY, colour
from cti_edits.search.candidates import MatrixId
from cti_edits.search.direction_gradients import DirectionGradients, direction_gradients
from cti_edits.search.selectors import kept_matrices
from cti_edits.studies.context import StudyContext, place_names
from cti_edits.studies.held_out_search import ACCURACY, WINNER_HEADINGS, Winner, rank_cut_trials, search, winner_cells
from cti_edits.studies.study import Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all"
COUNTS = ("10", str(TAIL), "60", "100", ALL)
"""The numbers of singular values."""


@dataclass(frozen=True, kw_only=True)
class Counted(Winner):
    """What a search finds whose scores are of so many of the last singular values.

    Attributes:
        seed: of the draw.
        last: how many, or "all".
        kept: the matrices that are kept, by `context.place_name`.
    """

    NAME: ClassVar[str] = "last"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "last")

    seed: int
    last: str
    kept: list[str]


def units(context: StudyContext) -> Iterator[Unit]:
    """Every number of singular values, draw by draw."""
    for seed in context.seeds:
        yield from _of_draw(context, seed)


def _of_draw(context: StudyContext, seed: int) -> Iterator[Unit]:
    @functools.cache
    def gradients() -> Mapping[int, DirectionGradients]:
        rows, targets = context.calibration(seed), context.targets()
        return {
            clusters: direction_gradients(context.session, rows, clusters, targets, context.cache, context.progress)
            for clusters in context.question.clusters
        }

    def counted(last: str) -> Counted:
        scores = {clusters: scores_of(found, last) for clusters, found in gradients().items()}
        kept = kept_matrices(scores, context.question.top_q)
        found = search(context, context.calibration(seed), rank_cut_trials(context, kept))
        return Counted(**vars(found), seed=seed, last=last, kept=place_names(kept))

    for last in COUNTS:
        yield Unit((Counted.NAME, seed, last), functools.partial(counted, last))


def scores_of(gradients: DirectionGradients, last: str) -> dict[MatrixId, float]:
    """The paper's score of every matrix, of so many of the last singular values of each row block."""
    return {
        place: matrix_score(
            [block.gradients for block in blocks],
            max(len(block.gradients) for block in blocks) if last == ALL else int(last),
        )
        for place, blocks in gradients.blocks.items()
    }


def table(records: Sequence[Record]) -> Table:
    """A line for each draw and number."""
    every = [record for record in records if isinstance(record, Counted)]
    usual = {counted.seed: counted.kept for counted in every if counted.last == str(TAIL)}
    rows = [
        (
            counted.last,
            str(counted.seed),
            f"{len(set(counted.kept) & set(usual[counted.seed]))} of {len(counted.kept)}",
            *winner_cells(counted),
        )
        for counted in every
    ]
    return Table(
        ("last", "seed", f"kept as with {TAIL}", *WINNER_HEADINGS),
        tuple(rows),
        left=("winner",),
        notes=tuple(f"seed {counted.seed}, last {counted.last}: keeps {'; '.join(counted.kept)}" for counted in every),
    )


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """Overlap on the left, held-out accuracy on the right."""
    every = [record for record in records if isinstance(record, Counted)]
    usual = {counted.seed: set(counted.kept) for counted in every if counted.last == str(TAIL)}
    left, right = figure.subplots(1, 2)
    for number, seed in enumerate(usual):
        those = [counted for counted in every if counted.seed == seed]
        at = list(range(len(those)))
        shares = [len(set(counted.kept) & usual[seed]) / len(counted.kept) for counted in those]
        left.plot(at, shares, "o-", color=colour(number), label=f"seed {seed}")
        right.plot(at, [100 * counted.edited for counted in those], "o-", color=colour(number))
    right.axhline(100 * every[0].baseline, color=GREY, linewidth=0.8, linestyle="dashed", label="unedited")
    for axes in (left, right):
        axes.set(xticks=range(len(COUNTS)), xticklabels=COUNTS, xlabel="last singular values that are scored")
    left.set(ylim=(-0.05, 1.05), ylabel=f"share that {TAIL} keep, too")
    right.set(ylabel=ACCURACY)
    right.legend(loc="best")
    left.legend(loc="best")


STUDY = Study("last", "How many of the last singular values are scored", (Counted,), units, table, draw)
