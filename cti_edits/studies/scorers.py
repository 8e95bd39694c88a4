"""What a scorer's order of the matrices has to do with what cutting them does.

Every matrix is cut, and the change of the calibration loss measured. A scorer's lowest scores are tried first, so that
one that is worth its name has low scores where the loss falls: a correlation above 0. Beside it stands what a search
that keeps the best matrices by it finds, on held-out rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cti_edits.pictures import GREY, colour
from cti_edits.plugins import provided
from cti_edits.search.candidates import Group, MatrixId, RankCut
from cti_edits.search.edited_weights import EditedWeights
from cti_edits.search.evaluate import completed
from cti_edits.search.gradients import Directions, sigma_gradients
from cti_edits.search.scorers import Scorer
from cti_edits.search.scores import matrix_scores
from cti_edits.search.selectors import kept_matrices
from cti_edits.studies.context import StudyContext, place_name
from cti_edits.studies.correlation import shown, spearman
from cti_edits.studies.held_out_search import ACCURACY, WINNER_HEADINGS, Winner, rank_cut_trials, search, winner_cells
from cti_edits.studies.study import Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUT_RATES = (0.9, 0.5)
"""The ρ at which every matrix is cut."""

NOTE = (
    "K, ρ: Spearman's correlation of the score with the change of the calibration loss, over the cuts of all matrices. "
    "Above 0: what the scorer would try first is what lowers the loss most, or raises it least."
)


@dataclass(frozen=True, kw_only=True)
class Cut(Record):
    """What one cut does to the model on the calibration rows.

    Attributes:
        seed: of the draw.
        matrix: role of the matrix.
        layer: its layer.
        clusters: K.
        rho: ρ.
        loss_change: of the mean NLL of the gold answer, nats.
        accuracy_change: of the accuracy.
    """

    NAME: ClassVar[str] = "cut"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "matrix", "layer", "clusters", "rho")

    seed: int
    matrix: str
    layer: int
    clusters: int
    rho: float
    loss_change: float
    accuracy_change: float

    @property
    def place(self) -> str:
        """See `context.place_name`."""
        return place_name(self.clusters, MatrixId(self.layer, self.matrix))


@dataclass(frozen=True, kw_only=True)
class Scored(Winner):
    """A scorer's scores, and what a search by them finds.

    Attributes:
        seed: of the draw.
        scorer: its name.
        scores: of every matrix at every K, by `context.place_name`.
    """

    NAME: ClassVar[str] = "scorer"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "scorer")

    seed: int
    scorer: str
    scores: dict[str, float]


def units(context: StudyContext) -> Iterator[Unit]:
    """Every cut, then every scorer, draw by draw."""
    for seed in context.seeds:
        yield from _of_draw(context, seed)


def _of_draw(context: StudyContext, seed: int) -> Iterator[Unit]:
    targets, clusters = context.targets(), context.question.clusters
    for place in targets:
        for cut in (RankCut(place, number, rho) for number in clusters for rho in CUT_RATES):
            key = (Cut.NAME, seed, place.matrix, place.layer, cut.clusters, cut.rho)
            yield Unit(key, functools.partial(_cut, context, seed, cut))

    @functools.cache
    def directions() -> Directions:
        rows = context.calibration(seed)
        return sigma_gradients(context.session, rows, clusters, targets, context.cache, context.progress)

    def scored(name: str) -> Scored:
        scores = matrix_scores(directions(), clusters, targets, name, seed)
        kept = kept_matrices(scores, context.question.top_q)
        found = search(context, context.calibration(seed), rank_cut_trials(context, kept))
        every = {place_name(number, place): score for number in scores for place, score in scores[number].items()}
        return Scored(**vars(found), seed=seed, scorer=name, scores=every)

    for _, scorer in provided("scorers", Scorer):
        yield Unit((Scored.NAME, seed, scorer.name), functools.partial(scored, scorer.name))


def _cut(context: StudyContext, seed: int, cut: RankCut) -> Cut:
    target = context.targets([cut.target.matrix])[cut.target]
    rows = context.evaluated(seed)
    weights = EditedWeights({cut.target: target}, context.cache)
    ((_, _, edited),) = weights.of(Group(cut.target, cut.clusters, [cut]))
    with context.session.replaced_weight(target, edited):
        found = completed(rows.evaluator.evaluate(target.layer))
    return Cut(
        seed=seed,
        matrix=cut.target.matrix,
        layer=cut.target.layer,
        clusters=cut.clusters,
        rho=cut.rho,
        loss_change=found.nll - rows.unedited.nll,
        accuracy_change=found.accuracy - rows.unedited.accuracy,
    )


def correlations(records: Sequence[Record], scored: Scored) -> dict[tuple[int, float], float | None]:
    """For each K and ρ, Spearman's correlation of a scorer's scores with the changes of the loss, on its draw."""
    cuts = [record for record in records if isinstance(record, Cut) and record.seed == scored.seed]
    found: dict[tuple[int, float], float | None] = {}
    for which in dict.fromkeys((cut.clusters, cut.rho) for cut in cuts):
        those = [cut for cut in cuts if (cut.clusters, cut.rho) == which]
        found[which] = spearman([scored.scores[cut.place] for cut in those], [cut.loss_change for cut in those])
    return found


def table(records: Sequence[Record]) -> Table:
    """A line for each draw and scorer."""
    rows, headings = [], tuple[str, ...]()
    for scored in (record for record in records if isinstance(record, Scored)):
        found = correlations(records, scored)
        headings = tuple(f"K {clusters}, ρ {rho:g}" for clusters, rho in found)
        rows.append((scored.scorer, str(scored.seed), *map(shown, found.values()), *winner_cells(scored)))
    return Table(
        ("scorer", "seed", *headings, *WINNER_HEADINGS),
        tuple(rows),
        left=("scorer", "winner"),
        notes=(NOTE,),
    )


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """Correlations on the left, held-out accuracies on the right."""
    every = [record for record in records if isinstance(record, Scored)]
    names = list(dict.fromkeys(scored.scorer for scored in every))
    left, right = figure.subplots(1, 2, sharey=True)
    at = {name: len(names) - 1 - number for number, name in enumerate(names)}
    labelled = set()
    for scored in every:
        for number, (which, value) in enumerate(correlations(records, scored).items()):
            label = None if which in labelled else f"K {which[0]}, ρ {which[1]:g}"
            labelled.add(which)
            if value is not None:
                left.plot(value, at[scored.scorer], "o", color=colour(number), alpha=0.8, label=label)
        right.plot(100 * scored.baseline, at[scored.scorer], "|", color=GREY, markersize=14)
        right.plot(100 * scored.edited, at[scored.scorer], "o", color=colour(0), alpha=0.8)
    left.axvline(0, color="black", linewidth=0.8)
    left.set(xlim=(-1, 1), xlabel="Spearman: score with change of loss", yticks=list(at.values()), yticklabels=names)
    right.set(xlabel=f"{ACCURACY}; stroke: unedited")
    if labelled:
        left.legend(loc="best")


STUDY = Study("scorers", "Scores against what cutting a matrix does", (Cut, Scored), units, table, draw)
