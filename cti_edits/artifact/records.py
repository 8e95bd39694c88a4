"""What a manifest records beside the matrix edits: the task, the search, the figures, and how it was made.

One frozen dataclass for each object of the schema. ``from_json`` converts what the schema has checked, and ``to_json``
gives the same JSON again. A key that a manifest may leave out is a field whose default is None, and is left out where
it is None; a key that must be there is a field without a default, and None is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.matrix_id import StackName


@dataclass(frozen=True)
class Record:
    """An object of the manifest."""

    def to_json(self) -> dict[str, Any]:
        """The object as dicts, lists and its values."""
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None and one.default is None:
                continue
            if isinstance(value, Record | Asked):
                value = value.to_json()
            elif isinstance(value, Mapping):
                value = dict(value)
            elif isinstance(value, tuple):
                value = [item.to_json() if isinstance(item, Record) else item for item in value]
            found[one.name] = value
        return found


@dataclass(frozen=True)
class DatasetRecord(Record):
    """Where a task's rows are from.

    Attributes:
        id: data set on the hub, or whatever the task's file names.
        revision: its revision on the hub, or "sha256:" and a hash of a file.
        split: the part of it, "test[:20%]".
    """

    id: str | None
    revision: str | None
    split: str | None


@dataclass(frozen=True)
class TaskRecord(Record):
    """The lm-eval task that an edit was made for.

    Attributes:
        name: of the task.
        dataset: where its rows are from.
        metric: that says right or wrong of a row; with a filter, "exact_match,strict".
    """

    name: str
    dataset: DatasetRecord
    metric: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TaskRecord:
        """The record of a manifest's ``task``."""
        return cls(**{**document, "dataset": DatasetRecord(**document["dataset"])})


@dataclass(frozen=True)
class PartRecord(Record):
    """A part of a search that came from a plugin.

    Attributes:
        kind: of the part, "scorer".
        name: of the part.
        distribution: name of the package that has the plugin.
        version: of that package.
    """

    kind: str
    name: str
    distribution: str
    version: str


@dataclass(frozen=True)
class SearchRecord(Record):
    """How an edit was found: enough to find it again.

    Attributes:
        preset: the paper's system that the search followed, or None.
        seed: of the draw of rows.
        samples: how many rows the gradients were taken on; without gradients, every candidate was evaluated on.
        sample_ids_sha256: hash of the numbers of those rows.
        top_q: matrices kept by their score for each K; None: all of them, without scores.
        clusters: the numbers of row blocks K that were tried.
        rates: the shares ρ that were tried.
        matrices: the roles that were tried, "U_in".
        stack: of the blocks whose matrices were tried; None: of all of them.
        candidates: how many edits were tried.
        screen: of all, so many were tried: those that a first-order prediction put first.
        evaluated_on: how many rows every candidate was evaluated on; None: those of ``samples``.
        row_hashes: the first 12 digits of lm-eval's ``doc_hash`` of each row that the search saw, one after the other,
            ascending; see `harness.row_hashes`.
        asked: what the search asked of which model on which rows.
        method: of the candidates; None: "block-svd".
        scorer: what scored the matrices; None: the paper's score.
        selector: what chose among scores and candidates; None: the best.
        directions: the numbers N of directions that were tried.
        drops: the shares f of the loss that a step was to take off, to first order.
        epochs: how long factors were fitted, at most.
        parts: those of the search that came from plugins.
    """

    preset: str | None
    seed: int
    samples: int
    sample_ids_sha256: str
    top_q: int | None
    clusters: tuple[int, ...]
    rates: tuple[float, ...]
    matrices: tuple[str, ...]
    candidates: int
    stack: StackName | None = None
    screen: int | None = None
    evaluated_on: int | None = None
    row_hashes: str | None = None
    asked: Asked | None = None
    method: str | None = None
    scorer: str | None = None
    selector: str | None = None
    directions: tuple[int, ...] | None = None
    drops: tuple[float, ...] | None = None
    epochs: int | None = None
    parts: tuple[PartRecord, ...] | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SearchRecord:
        """The record of a manifest's ``search``."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        if "asked" in document:
            values["asked"] = Asked.from_json(document["asked"])
        if "parts" in document:
            values["parts"] = tuple(PartRecord(**part) for part in document["parts"])
        return cls(**values)


@dataclass(frozen=True)
class Measurement(Record):
    """The base model and the edited one on the same rows.

    Attributes:
        n: how many rows.
        baseline: accuracy of the base model, from 0 to 1.
        edited: accuracy with the edit.
        majority_class: share of the most frequent gold answer.
        baseline_nll: of the base model, the mean over rows of the mean negative log-likelihood of the gold answer's
            tokens, in nats.
        edited_nll: the same with the edit.
        ci95: 95 % interval of ``edited`` − ``baseline``, the lower end first.
        p_value: McNemar's exact test, two-sided.
    """

    n: int
    baseline: float
    edited: float
    majority_class: float
    baseline_nll: float | None = None
    edited_nll: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Measurement:
        """The record of one part of a manifest's ``results``."""
        interval = document.get("ci95")
        return cls(**{**document, "ci95": None if interval is None else (interval[0], interval[1])})


@dataclass(frozen=True)
class Reported(Record):
    """Accuracies of a publication, not measured with this tool.

    Attributes:
        source: what reports them.
        baseline: accuracy of the base model, from 0 to 1.
        edited: accuracy with the edit.
    """

    source: str
    baseline: float
    edited: float


@dataclass(frozen=True)
class Results(Record):
    """What is known of how good an edit is.

    Attributes:
        calibration: on the rows that every candidate was evaluated on, which chose the edit and flatter it.
        test: on the test part, which the search did not see.
        reported: what a publication says.
    """

    calibration: Measurement | None
    test: Measurement | None
    reported: Reported | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Results:
        """The record of a manifest's ``results``."""
        calibration, test, reported = (document.get(part) for part in ("calibration", "test", "reported"))
        return cls(
            None if calibration is None else Measurement.from_json(calibration),
            None if test is None else Measurement.from_json(test),
            None if reported is None else Reported(**reported),
        )


@dataclass(frozen=True)
class Provenance(Record):
    """How a manifest was made.

    Attributes:
        created: time in UTC, "2026-01-31T23:59:59Z".
        tool: name and version of what made it.
        source: where the edit is from if no tool found it, "arXiv:2510.20800 table 7".
        versions: of Python and the packages that were used, by name.
        batch_tokens: tokens that went through the model together at most, in the search's evaluations; the last bits of
            log-likelihoods depend on it.
    """

    created: str | None
    tool: str
    source: str | None
    versions: Mapping[str, str]
    batch_tokens: int | None = None


NO_RESULTS = Results(calibration=None, test=None)
"""Of an edit that nobody measured."""
