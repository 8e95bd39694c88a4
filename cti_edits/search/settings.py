"""What a search is asked to try: `SearchSettings`. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit
from cti_edits.artifact.matrix_id import StackName
from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.errors import EditError, printable
from cti_edits.harness.metrics import CRITERIA
from cti_edits.methods.method import find_method
from cti_edits.search.partitions import find_partition
from cti_edits.search.scorers import PAPER, find_scorer
from cti_edits.search.selectors import BEST, find_selector

RATES = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01, 0.005)
CLUSTERS = (1, 2, 4, 8, 16)
MATRICES = ("U_in", "U_out")
DIRECTIONS = (64, 256, 1024, 4096)
DROPS = (0.1, 0.3, 1.0)
FOLDS = 4
"""Parts of the calibration rows, each held out once, by which it is chosen how many factors are fitted how long."""

MAX_DIRECTIONS = 10_000
"""A manifest, of a MiB at most, has room for so many at some 30 bytes each, beside what else it says."""

MAX_DROP = 1000
MAX_EPOCHS = 1000
MAX_COMPOSE = 1000
MAX_KL = 1000
MAX_CONFIRM = 1000

Part = Literal["sample", "validation"]
"""Examples that a search works on: those drawn from the validation part, or all of that part."""


CONTROL_DRAWS = 5
"""So many random edits are measured beside the winner."""

GUARD_PIECES = 32
"""Pieces of other text, at most, on which a winner is compared with the base."""

HELD_OUT = 1000
"""On so many rows that a search did not see is its winner measured, unless other is asked for."""

HeldOut = int | Literal["all", "none"] | None
"""How many rows that a search did not see its winner is measured on; None: `HELD_OUT`, or as many as there are."""


def held_out_rows(text: str | None) -> HeldOut:
    """What a person writes for it, a number, "all" or "none".

    Raises:
        EditError: it is something else.
    """
    if text is None:
        return None
    if text == "all":
        return "all"
    if text == "none":
        return "none"
    if not text.isdecimal() or int(text) < 1:
        raise EditError(f"held_out: expected a number from 1, all or none, got {printable(text)!r}")
    return int(text)


def fold_count(rows: int) -> int:
    """The number of `FOLDS`; fewer for fewer than two rows each, and 1 where nothing can be held out."""
    return max(1, min(FOLDS, rows // 2))


def metric_and_selector(metric: str | None, selector: str | None) -> tuple[str | None, str | None]:
    """The task's metric and the selector, where the metric that is asked for is one of `metrics.CRITERIA`.

    Raises:
        EditError: it is, and another selector is asked for.
    """
    if metric not in CRITERIA:
        return metric, selector
    if selector not in (None, metric):
        raise EditError(f"metric: {metric} says what chooses, and so does {printable(selector)} (selector)")
    return None, metric


def check_task_or_rows(task: object, rows: object) -> None:
    """Refuse a search of a task and rows of one's own at once, and one of neither.

    Raises:
        EditError: both or neither are given.
    """
    if task is None and rows is None:
        raise EditError("task: expected the name of a task, or rows of your own in its place (rows)")
    if task is not None and rows is not None:
        raise EditError("task: expected it or rows of your own, got both (rows)")


def check_limit(max_kl: float | None, compares: bool) -> None:
    """Refuse a limit on other text for a search that is given none.

    Raises:
        EditError: so it is.
    """
    if max_kl is not None and not compares:
        raise EditError("max_kl: there is no other text to keep to it on; name one (guard)")


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
        partition: how rows are assigned to the K blocks: "row-blocks", "k-subspaces", "k-means", or a plugin's.
        scorer: what a matrix is scored by: "paper", or another of `scorers.SCORERS` or of a plugin.
        selector: what chooses by scores and outcomes: "best", or a plugin's.
        method: how edits are made: "block-svd", "directions", or a plugin's.
        directions: with the method directions, the numbers N of directions that are tried.
        drops: with the method directions, the shares f of the loss that a step is to take off, to first order.
        epochs: with the method directions, fit the factors for so many epochs at most; 0: one step.
        compose: how many edits at most, each the best on top of those before.
        preset: name of the preset that these settings are, or None.
        stack: the list of blocks whose matrices are tried, "encoder" or "decoder", where a model has both; None: all.
        max_kl: how far the winner may move the predictions of other text: mean KL of the unedited model's next tokens
            from the edited one's, nats; None: as far as it likes.
        confirm: so many of the best candidates are compared again on as many fresh rows of the validation part, which
            choose the winner; None: the rows that every candidate is evaluated on choose.

    Raises:
        EditError: a value is out of range or given twice, or there is no such partition, scorer or selector.
    """

    samples: int = 100
    top_q: int | None = 5
    clusters: tuple[int, ...] = CLUSTERS
    rates: tuple[float, ...] = RATES
    matrices: tuple[str, ...] = MATRICES
    seed: int = 0
    gradients_on: Part = "sample"
    evaluated_on: Part = "sample"
    partition: str = ROW_BLOCKS
    scorer: str = PAPER
    selector: str = BEST
    method: str = BlockSvdEdit.METHOD
    directions: tuple[int, ...] = DIRECTIONS
    drops: tuple[float, ...] = DROPS
    epochs: int = 0
    compose: int = 1
    preset: str | None = None
    stack: StackName | None = None
    max_kl: float | None = None
    confirm: int | None = None

    @property
    def draws(self) -> bool:
        """Whether examples are drawn at all: for the gradients, if any are taken, or for the evaluations."""
        return self.evaluated_on == "sample" or (self.takes_gradients and self.gradients_on == "sample")

    @property
    def cuts_ranks(self) -> bool:
        """Whether the candidates are rank cuts, so that ``top_q``, ``rates`` and what scores matrices count."""
        return self.method == BlockSvdEdit.METHOD

    @property
    def takes_gradients(self) -> bool:
        """Whether there is a gradient pass."""
        return self.top_q is not None or not self.cuts_ranks

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise EditError(f"samples: expected 1 or more, got {self.samples}")
        if self.top_q is not None and self.top_q < 1:
            raise EditError(f"top_q: expected 1 or more, got {self.top_q}")
        if not 0 <= self.seed < 2**53:
            raise EditError(f"seed: expected 0 or more and less than 2^53, got {self.seed}")
        lists = {"clusters": self.clusters, "rates": self.rates, "matrices": self.matrices}
        for option, values in (lists | {"directions": self.directions, "drops": self.drops}).items():
            if not values:
                raise EditError(f"{option}: expected at least one value")
            if len(set(values)) != len(values):
                raise EditError(f"{option}: a value is given twice in {', '.join(map(str, values))}")
        if min(self.clusters) < 1:
            raise EditError(f"clusters: expected 1 or more, got {min(self.clusters)}")
        most = find_partition(self.partition).max_clusters
        if most is not None and max(self.clusters) > most:
            raise EditError(f"clusters: expected at most {most} with {self.partition}, got {max(self.clusters)}")
        if self.stack not in (None, *get_args(StackName)):
            raise EditError(f"stack: expected {' or '.join(get_args(StackName))}, got {printable(self.stack)!r}")
        find_method(self.method)
        if self.method == DirectionsEdit.METHOD and len(self.clusters) != 1:
            raise EditError(f"clusters: expected one K for directions, got {', '.join(map(str, self.clusters))}")
        for count in self.directions:
            if not 1 <= count <= MAX_DIRECTIONS:
                raise EditError(f"directions: expected 1 to {MAX_DIRECTIONS:,}, got {count}")
        if not all(0 < drop <= MAX_DROP for drop in self.drops):
            raise EditError(f"drops: expected above 0 and at most {MAX_DROP}, got {', '.join(map(str, self.drops))}")
        if not 0 <= self.epochs <= MAX_EPOCHS:
            raise EditError(f"epochs: expected 0 to {MAX_EPOCHS}, got {self.epochs}")
        if not 1 <= self.compose <= MAX_COMPOSE:
            raise EditError(f"compose: expected 1 to {MAX_COMPOSE}, got {self.compose}")
        if self.max_kl is not None and not 0 < self.max_kl <= MAX_KL:
            raise EditError(f"max_kl: expected above 0 and at most {MAX_KL}, got {self.max_kl:g}")
        if self.max_kl is not None and self.compose > 1:
            raise EditError("max_kl: not together with several edits (compose)")
        if self.confirm is not None and not 1 <= self.confirm <= MAX_CONFIRM:
            raise EditError(f"confirm: expected 1 to {MAX_CONFIRM}, got {self.confirm}")
        if self.confirm is not None and self.compose > 1:
            raise EditError("confirm: not together with several edits (compose)")
        if self.confirm is not None and self.evaluated_on == "validation":
            raise EditError("confirm: every row of the validation part is evaluated on, and none is left to confirm by")
        find_scorer(self.scorer)
        find_selector(self.selector)
        if self.top_q is None and self.cuts_ranks and self.scorer != PAPER:
            raise EditError("scorer: no matrix is scored where every one is tried; say how many are kept (top_q)")
        for rho in self.rates:
            if not 0.0 < rho <= 1.0:
                raise EditError(f"rates: expected above 0 and at most 1, got {rho}")
