"""Which number of row blocks wins for each matrix, and how often."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cti_edits.pictures import colour, whole_numbers
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.evaluate import evaluate
from cti_edits.search.settings import CLUSTERS
from cti_edits.studies.context import StudyContext
from cti_edits.studies.held_out_search import rank_cut_trials
from cti_edits.studies.study import Defaults, Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class BestCut(Record):
    """The best cut of one matrix on the calibration rows.

    Attributes:
        seed: of the draw.
        matrix: role of the matrix.
        layer: its layer.
        clusters: K of the best cut; None where no cut beats the unedited model.
        rho: its ρ.
        accuracy: with it.
        nll: likewise.
        baseline: accuracy of the unedited model.
        baseline_nll: likewise.
    """

    NAME: ClassVar[str] = "matrix"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "matrix", "layer")

    seed: int
    matrix: str
    layer: int
    clusters: int | None
    rho: float | None
    accuracy: float
    nll: float
    baseline: float
    baseline_nll: float


def units(context: StudyContext) -> Iterator[Unit]:
    """Every matrix, draw by draw."""
    for seed in context.seeds:
        for place in context.targets():
            key = (BestCut.NAME, seed, place.matrix, place.layer)
            yield Unit(key, functools.partial(_best_cut, context, seed, place))


def _best_cut(context: StudyContext, seed: int, place: MatrixId) -> BestCut:
    trials = rank_cut_trials(context, {clusters: [place] for clusters in context.question.clusters})
    evaluator = context.session.evaluator(context.calibration(seed))
    found = evaluate(context.session, evaluator, trials, True, context.progress)
    cut = found.best.candidate
    assert cut is None or isinstance(cut, RankCut)
    return BestCut(
        seed=seed,
        matrix=place.matrix,
        layer=place.layer,
        clusters=None if cut is None else cut.clusters,
        rho=None if cut is None else cut.rho,
        accuracy=found.best.accuracy,
        nll=found.best.nll,
        baseline=found.unedited.accuracy,
        baseline_nll=found.unedited.nll,
    )


def table(records: Sequence[Record]) -> Table:
    """A line for each K that wins, and how often it does, by role too."""
    every = [record for record in records if isinstance(record, BestCut)]
    roles = tuple(dict.fromkeys(one.matrix for one in every))
    wins = Counter((one.clusters, one.matrix) for one in every)
    rows = []
    for clusters in _in_order(every):
        of_roles = [wins[clusters, role] for role in roles]
        share = f"{100 * sum(of_roles) / len(every):.1f} %"
        rows.append((_named(clusters), *map(str, of_roles), str(sum(of_roles)), share))
    note = "How often the best cut of a matrix has this K. None: no cut of it beats the unedited model."
    best = tuple(
        f"seed {one.seed}, {MatrixId(one.layer, one.matrix)}: K {_named(one.clusters)}"
        + ("" if one.rho is None else f", ρ {one.rho:g}, {100 * one.baseline:.1f} → {100 * one.accuracy:.1f} %")
        for one in every
    )
    return Table(("K", *roles, "matrices", "share"), tuple(rows), notes=(note, *best))


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """How often each K wins on the left, where on the right."""
    every = [record for record in records if isinstance(record, BestCut)]
    order = _in_order(every)
    left, right = figure.subplots(1, 2, sharey=True)
    beside = [0] * len(order)
    roles = list(dict.fromkeys(one.matrix for one in every))
    for number, role in enumerate(roles):
        wins = Counter(one.clusters for one in every if one.matrix == role)
        counts = [wins[clusters] for clusters in order]
        left.barh(range(len(order)), counts, left=beside, color=colour(number), label=role)
        beside = [one + other for one, other in zip(beside, counts, strict=True)]
        shift = (number + 0.5) / len(roles) * 0.4 - 0.2
        points = [(one.layer, order.index(one.clusters) + shift) for one in every if one.matrix == role]
        right.plot(*zip(*points, strict=True), "o", color=colour(number), alpha=0.6)
    left.set(yticks=range(len(order)), yticklabels=list(map(_named, order)), ylabel="K", xlabel="matrices that it wins")
    whole_numbers(right.xaxis)
    right.set(xlabel="layer")
    whole_numbers(left.xaxis)
    left.legend(loc="best")


def _in_order(every: Sequence[BestCut]) -> list[int | None]:
    """None first, then the K that win, ascending."""
    found = {one.clusters for one in every}
    return [None, *sorted(clusters for clusters in found if clusters is not None)]


def _named(clusters: int | None) -> str:
    return "none" if clusters is None else str(clusters)


STUDY = Study(
    "clusters",
    "Which number of row blocks wins",
    (BestCut,),
    units,
    table,
    draw,
    Defaults(test_rows=None, clusters=CLUSTERS),
)
