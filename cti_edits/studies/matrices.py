"""Each role of matrix by itself, attention too (the paper's appendix A.5, table 9)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cti_edits.pictures import GREY, colour
from cti_edits.search.gradients import sigma_gradients
from cti_edits.search.scores import matrix_scores
from cti_edits.search.selectors import kept_matrices
from cti_edits.studies.context import StudyContext, place_names
from cti_edits.studies.held_out_search import ACCURACY, WINNER_HEADINGS, Winner, rank_cut_trials, search, winner_cells
from cti_edits.studies.study import Defaults, Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class OfRole(Winner):
    """What a search finds among the matrices of one role.

    Attributes:
        seed: of the draw.
        role: of the matrices.
        kept: those that are kept, by `context.place_name`.
    """

    NAME: ClassVar[str] = "role"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "role")

    seed: int
    role: str
    kept: list[str]


def units(context: StudyContext) -> Iterator[Unit]:
    """Every role, draw by draw."""
    for seed in context.seeds:
        for role in context.question.matrices:
            yield Unit((OfRole.NAME, seed, role), functools.partial(_of_role, context, seed, role))


def _of_role(context: StudyContext, seed: int, role: str) -> OfRole:
    targets, clusters, rows = context.targets([role]), context.question.clusters, context.calibration(seed)
    directions = sigma_gradients(context.session, rows, clusters, targets, context.cache, context.progress)
    kept = kept_matrices(matrix_scores(directions, clusters, targets), context.question.top_q)
    found = search(context, rows, rank_cut_trials(context, kept))
    return OfRole(**vars(found), seed=seed, role=role, kept=place_names(kept))


def table(records: Sequence[Record]) -> Table:
    """A line for each draw and role."""
    every = [record for record in records if isinstance(record, OfRole)]
    rows = [(found.role, str(found.seed), str(found.candidates), *winner_cells(found)) for found in every]
    return Table(("matrix", "seed", "candidates", *WINNER_HEADINGS), tuple(rows), left=("matrix", "winner"))


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """Held-out accuracy, role by role."""
    every = [record for record in records if isinstance(record, OfRole)]
    roles, seeds = (
        list(dict.fromkeys(values)) for values in zip(*((one.role, one.seed) for one in every), strict=True)
    )
    axes = figure.subplots()
    for number, seed in enumerate(seeds):
        those = [found for found in every if found.seed == seed]
        at = [roles.index(found.role) + (number + 0.5) / len(seeds) * 0.8 - 0.4 for found in those]
        axes.bar(at, [100 * one.edited for one in those], 0.8 / len(seeds), color=colour(number), label=f"seed {seed}")
    axes.axhline(100 * every[0].baseline, color=GREY, linewidth=0.8, linestyle="dashed", label="unedited")
    axes.set(xticks=range(len(roles)), xticklabels=roles, ylabel=ACCURACY)
    axes.legend(loc="best")


STUDY = Study("matrices", "Each role of matrix by itself", (OfRole,), units, table, draw, Defaults(matrices=()))
