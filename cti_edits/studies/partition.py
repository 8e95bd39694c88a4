"""Ways to assign rows to blocks: consecutive, K-subspaces, k-means on the rows' directions, and those of plugins.

All have the same matrices, K and ρ. Beside the winner stands the share of the weights' energy that the cuts keep,
which is what K-subspaces are chosen for.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.pictures import GREY, colour
from cti_edits.plugins import provided
from cti_edits.search.candidates import Candidate, MatrixId, RankCut
from cti_edits.search.gradients import sigma_gradients
from cti_edits.search.partitions import Partition
from cti_edits.search.scores import matrix_scores
from cti_edits.search.selectors import kept_matrices
from cti_edits.search.trials import Trial, Trials
from cti_edits.studies.context import StudyContext, place_name
from cti_edits.studies.held_out_search import ACCURACY, WINNER_HEADINGS, Winner, rank_cut_trials, search, winner_cells
from cti_edits.studies.study import Defaults, Record, Study, Table, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Partitioned(Winner):
    """What a search finds whose rows are assigned so.

    Attributes:
        seed: of the draw, and of the partition.
        partition: its name.
        energy: ‖Ŵ‖² / ‖W‖² of every cut that was tried, by ρ and then by `context.place_name`.
    """

    NAME: ClassVar[str] = "partition"
    KEY: ClassVar[tuple[str, ...]] = ("seed", "partition")

    seed: int
    partition: str
    energy: dict[str, dict[str, float]]

    def mean_energy(self, rho: str) -> float:
        """Over the cuts at a ρ."""
        return statistics.fmean(self.energy[rho].values())


@dataclass
class EnergyOfTrials:
    """Trials, and the share of its matrix's energy that each of them keeps; see `trials.Trials`.

    Attributes:
        inner: the trials.
        energy: see `Partitioned`.
    """

    inner: Trials
    energy: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.candidates: Sequence[Candidate] = self.inner.candidates

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        """See `trials.Trials.trials`."""
        for trial in self.inner.trials(wanted):
            cut = trial.candidate
            assert isinstance(cut, RankCut)
            ((target, edited),) = trial.weights
            share = float(edited.double().square().sum() / target.weight.double().square().sum())
            self.energy.setdefault(f"{cut.rho:g}", {})[place_name(cut.clusters, cut.target)] = share
            yield trial

    def as_applied(self, candidate: Candidate) -> Trial | None:
        """See `trials.Trials.as_applied`."""
        return self.inner.as_applied(candidate)

    def matrix_edits(self, candidate: Candidate, checkpoint: AnyCheckpoint | None) -> tuple[MatrixEdit, ...]:
        """See `trials.Trials.matrix_edits`."""
        return self.inner.matrix_edits(candidate, checkpoint)


def units(context: StudyContext) -> Iterator[Unit]:
    """Every partition that takes as many blocks as are asked for, draw by draw."""
    for seed in context.seeds:
        yield from _of_draw(context, seed)


def _of_draw(context: StudyContext, seed: int) -> Iterator[Unit]:
    @functools.cache
    def kept() -> Mapping[int, Sequence[MatrixId]]:
        targets, clusters, rows = context.targets(), context.question.clusters, context.calibration(seed)
        directions = sigma_gradients(context.session, rows, clusters, targets, context.cache, context.progress)
        return kept_matrices(matrix_scores(directions, clusters, targets), context.question.top_q)

    def partitioned(name: str) -> Partitioned:
        trials = EnergyOfTrials(rank_cut_trials(context, kept(), name, seed))
        found = search(context, context.calibration(seed), trials)
        return Partitioned(**vars(found), seed=seed, partition=name, energy=trials.energy)

    most = max(context.question.clusters)
    for _, one in provided("partitions", Partition):
        if one.max_clusters is None or most <= one.max_clusters:
            yield Unit((Partitioned.NAME, seed, one.name), functools.partial(partitioned, one.name))


def table(records: Sequence[Record]) -> Table:
    """A line for each draw and partition."""
    every = [record for record in records if isinstance(record, Partitioned)]
    rates = [] if not every else list(every[0].energy)
    rows = [
        (one.partition, str(one.seed), *(f"{100 * one.mean_energy(rho):.1f} %" for rho in rates), *winner_cells(one))
        for one in every
    ]
    return Table(
        ("partition", "seed", *(f"ρ {rho}" for rho in rates), *WINNER_HEADINGS),
        tuple(rows),
        left=("partition", "winner"),
        notes=("ρ: the mean share of its energy that a cut at this ρ leaves a matrix.",),
    )


def draw(figure: Figure, records: Sequence[Record]) -> None:
    """Energy on the left, held-out accuracy on the right."""
    every = [record for record in records if isinstance(record, Partitioned)]
    names = list(dict.fromkeys(one.partition for one in every))
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(names):
        for place, one in enumerate(record for record in every if record.partition == name):
            rates = sorted(one.energy, key=float)
            shares = [100 * one.mean_energy(rho) for rho in rates]
            label = name if place == 0 else None
            left.plot(list(map(float, rates)), shares, "o-", color=colour(number), label=label)
            right.plot(number, 100 * one.edited, "o", color=colour(number))
            right.plot(number, 100 * one.baseline, "_", color=GREY, markersize=20)
    left.set(xlabel="ρ", ylabel="energy that a cut keeps, %")
    left.legend(loc="best")
    right.set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
    right.set(ylabel=f"{ACCURACY}; stroke: unedited")


STUDY = Study("partition", "Ways to assign rows to blocks", (Partitioned,), units, table, draw, Defaults(clusters=(4,)))
