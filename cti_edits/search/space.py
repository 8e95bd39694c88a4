"""What a search tries: its settings, the candidates, and which of them wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cti_edits.artifact.ranks import MAX_SUBSPACES, ROW_BLOCKS
from cti_edits.errors import EditError
from cti_edits.harness.evaluation import NLL_STEP

RATES = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01, 0.005)
CLUSTERS = (1, 2, 4, 8, 16)
MATRICES = ("U_in", "U_out")

Partition = Literal["row-blocks", "k-subspaces"]
"""How rows are assigned to blocks: consecutively, or by `subspaces.k_subspaces`."""

Part = Literal["sample", "validation"]
"""Examples that a search works on: those drawn from the validation part, or all of that part."""


@dataclass(frozen=True)
class SearchSettings:
    """How a search goes. See DESIGN section 2.

    Attributes:
        samples: how many examples are drawn from the validation part.
        top_q: matrices kept by their score for each K; None tries all of them, and no gradient is taken.
        clusters: the K that are tried.
        rates: the ρ that are tried.
        matrices: roles of the matrices that are tried.
        seed: of the draw.
        gradients_on: the examples that the gradients are taken on.
        evaluated_on: the examples that every candidate is evaluated on.
        partition: how rows are assigned to the K blocks.
        preset: name of the preset that these settings are, or None.

    Raises:
        EditError: a value is out of range or given twice.
    """

    samples: int = 100
    top_q: int | None = 5
    clusters: tuple[int, ...] = CLUSTERS
    rates: tuple[float, ...] = RATES
    matrices: tuple[str, ...] = MATRICES
    seed: int = 0
    gradients_on: Part = "sample"
    evaluated_on: Part = "sample"
    partition: Partition = "row-blocks"
    preset: str | None = None

    @property
    def draws(self) -> bool:
        """Whether examples are drawn at all: for the gradients, if any are taken, or for the evaluations."""
        return self.evaluated_on == "sample" or (self.top_q is not None and self.gradients_on == "sample")

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise EditError(f"samples: expected 1 or more, got {self.samples}")
        if self.top_q is not None and self.top_q < 1:
            raise EditError(f"top_q: expected 1 or more, got {self.top_q}")
        if not 0 <= self.seed < 2**53:
            raise EditError(f"seed: expected 0 or more and less than 2^53, got {self.seed}")
        for option, values in (("clusters", self.clusters), ("rates", self.rates), ("matrices", self.matrices)):
            if not values:
                raise EditError(f"{option}: expected at least one value")
            if len(set(values)) != len(values):
                raise EditError(f"{option}: a value is given twice in {', '.join(map(str, values))}")
        if min(self.clusters) < 1:
            raise EditError(f"clusters: expected 1 or more, got {min(self.clusters)}")
        if self.partition == "k-subspaces" and max(self.clusters) > MAX_SUBSPACES:
            raise EditError(f"clusters: expected at most {MAX_SUBSPACES} with k-subspaces, got {max(self.clusters)}")
        for rho in self.rates:
            if not 0.0 < rho <= 1.0:
                raise EditError(f"rates: expected above 0 and at most 1, got {rho}")


@dataclass(frozen=True, order=True)
class MatrixId:
    """A matrix of a model by layer and role."""

    layer: int
    matrix: str


@dataclass(frozen=True)
class Candidate:
    """One edit that is tried: (matrix, layer, K, ρ)."""

    target: MatrixId
    clusters: int
    rho: float


@dataclass(frozen=True)
class Outcome:
    """What an evaluation gave.

    Attributes:
        candidate: the edit, or None for the unedited model.
        accuracy: share of examples that are right.
        nll: mean over examples of the mean negative log-likelihood of the gold answer's tokens, nats.
        correct: right or wrong, example by example.
        predicted: index of the label that the model gave each example, where the task has fixed labels.
        partition: how the candidate's rows are assigned to blocks, as a manifest writes it.
        added_parameters: kept minus dense parameters, 0 for the unedited model.
    """

    candidate: Candidate | None
    accuracy: float
    nll: float
    correct: tuple[bool, ...]
    added_parameters: int
    partition: str = ROW_BLOCKS
    predicted: tuple[int, ...] | None = None

    def order(self) -> tuple[float, float, int]:
        """Sort key, best first: accuracy, then lower NLL of the gold answer, then fewer kept parameters."""
        return (-self.accuracy, self.nll, self.added_parameters)


def keep_best(scores: Mapping[MatrixId, float], count: int) -> list[MatrixId]:
    """The ``count`` matrices with the most negative scores; ties go to the lower layer, then by role."""
    return sorted(scores, key=lambda target: (scores[target], target))[:count]


def candidates(
    kept: Mapping[int, Sequence[MatrixId]], rates: Sequence[float]
) -> list[tuple[MatrixId, int, list[Candidate]]]:
    """The candidates in groups that share one decomposition: (matrix, K) and every ρ.

    Args:
        kept: for each K, the matrices that are tried with it.
        rates: the ρ.
    """
    return [
        (target, clusters, [Candidate(target, clusters, rho) for rho in rates])
        for clusters, targets in kept.items()
        for target in targets
    ]


def cannot_win(best: Outcome, wrong: int, loss: float) -> bool:
    """Whether a candidate loses against ``best`` whatever the rest of its examples give.

    It can still have all of them right, at no further loss. One that may come out equal is not ruled out.

    Args:
        best: an outcome on all examples.
        wrong: examples that are wrong so far.
        loss: sum of the losses of all examples so far.
    """
    n = len(best.correct)
    accuracy = (n - wrong) / n
    return accuracy < best.accuracy or (accuracy == best.accuracy and loss / n > best.nll + NLL_STEP)


def winner(outcomes: Iterable[Outcome]) -> Outcome:
    """The best outcome, the unedited model's among them; see `Outcome.order`. The first of equals wins."""
    return min(outcomes, key=Outcome.order)
