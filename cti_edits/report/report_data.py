"""What a report shows: an edit, and what its search knows beside that. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.search.explanation import Explanation


@dataclass(frozen=True)
class TriedCandidate:
    """A candidate that was evaluated to the end.

    Attributes:
        cells: what it is, from heading to text; see `Candidate.cells`.
        accuracy: on the calibration rows, as a share.
        nll: of the gold answer, likewise.
        best: whether it is the winner.
    """

    cells: Mapping[str, str]
    accuracy: float
    nll: float
    best: bool


@dataclass(frozen=True)
class LabelShares:
    """How often each label is right, and is predicted. Each is in the order of the labels.

    Attributes:
        rows: how many rows.
        labels: the choices that every row has.
        gold: share of the rows of which it is the gold answer.
        base: share that the unedited model gives it.
        edited: share that the edited model gives it.
        balanced: balanced accuracy of the unedited and of the edited model.
        collapsed: whether the edited model gives nearly every row one label, and the unedited one does not.
    """

    rows: int
    labels: tuple[str, ...]
    gold: tuple[float, ...]
    base: tuple[float, ...]
    edited: tuple[float, ...]
    balanced: tuple[float, float]
    collapsed: bool


@dataclass(frozen=True)
class ChangedRow:
    """A row that only one of the two models has right.

    Attributes:
        number: of the row.
        prompt: what the model is given.
        gold: the right answer.
        base: what the unedited model answers, where that is one of fixed labels.
        edited: what the edited model answers, likewise.
        better: whether it is the edited model that is right.
    """

    number: int
    prompt: str
    gold: str
    base: str | None
    edited: str | None
    better: bool


@dataclass(frozen=True)
class SearchDetails:
    """What a search knows and a manifest does not say.

    Attributes:
        tried: the candidates that were evaluated to the end.
        unedited: accuracy of the unedited model on the same rows.
        stopped: how many could not win any more and were not evaluated to the end.
        failed: how many had a loss that is not finite.
        explanation: scores of all matrices, σ and g.
        shares: of predicted labels, where the task has fixed ones.
        changed: some of the rows that changed; better ones first.
        gained: how many rows the edited model alone has right.
        lost: how many rows the unedited model alone has right.
        layers: how many blocks the model has, where that is known.
        task_rows: how many rows the task has.
    """

    tried: tuple[TriedCandidate, ...]
    unedited: float
    stopped: int
    failed: int
    explanation: Explanation
    shares: LabelShares | None
    changed: tuple[ChangedRow, ...]
    gained: int
    lost: int
    layers: int | None
    task_rows: int


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        edit: the manifest.
        search: what its search knows beside that; None where there is the manifest alone.
    """

    edit: Edit
    search: SearchDetails | None = None
