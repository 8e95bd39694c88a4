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
from cti_edits.stats import TopAnswer, Verdict, verdict


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
        confirm: so many of the best candidates were compared again on rows that had not chosen them.
        max_kl: how far the winner was allowed to move the predictions of other text, nats.
        time_budget: seconds after which it was cut short, with candidates left; None: it went to its end.
        partition: what assigned rows to blocks, where no preset says it; None: contiguous blocks of equal size.
        compose: how many edits at most, each the best on top of those before, where no preset says it; None: one.
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
    confirm: int | None = None
    max_kl: float | None = None
    time_budget: float | None = None
    partition: str | None = None
    compose: int | None = None
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
        records: how many records the rows are of, where some share one; ``ci95`` allows for that.
        labels: of a task with fixed labels.
        baseline_answers: how often the base model gave each of them.
        edited_answers: the same with the edit.
    """

    n: int
    baseline: float
    edited: float
    majority_class: float
    baseline_nll: float | None = None
    edited_nll: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    records: int | None = None
    labels: tuple[str, ...] | None = None
    baseline_answers: tuple[int, ...] | None = None
    edited_answers: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Measurement:
        """The record of one part of a manifest's ``results``."""
        interval = document.get("ci95")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**{**values, "ci95": None if interval is None else (interval[0], interval[1])})

    def verdict(self) -> Verdict | None:
        """What the figures allow one to say; None where they were not compared row by row."""
        if self.ci95 is None or self.p_value is None:
            return None
        return verdict(
            self.ci95,
            self.p_value,
            round(self.edited * self.n),
            self.n,
            self.majority_class,
            _top_answer(self.baseline_answers),
            _top_answer(self.edited_answers),
        )


def _top_answer(counts: tuple[int, ...] | None) -> TopAnswer | None:
    """The label that is given most often, from how often each of them is; the first of equals."""
    if not counts or not sum(counts):
        return None
    return TopAnswer(counts.index(max(counts)), max(counts) / sum(counts))


@dataclass(frozen=True)
class RandomControl(Record):
    """The edit with chance in the place of the search: the same matrices, and as much of each, drawn at random.

    Attributes:
        n: how many rows each draw was measured on, those of ``results.test``.
        edited: the accuracy of each draw.
        edited_nll: likewise, of the gold answers.
    """

    n: int
    edited: tuple[float, ...]
    edited_nll: tuple[float, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RandomControl:
        """The record of a manifest's ``results.control``."""
        return cls(document["n"], tuple(document["edited"]), tuple(document["edited_nll"]))


@dataclass(frozen=True)
class LabelBias(Record):
    """No edit, but a number added to the likelihood of each label, fitted on the rows that the search had.

    Attributes:
        offsets: what is added to the log-likelihood of each of the task's labels.
        n: how many rows it was measured on, those of ``results.test``.
        corrected: accuracy of the base model with it.
        ci95: 95 % interval of the edit's accuracy minus this one.
        p_value: McNemar's exact test of the two, two-sided.
    """

    offsets: tuple[float, ...]
    n: int
    corrected: float
    ci95: tuple[float, float]
    p_value: float

    @property
    def does_as_well(self) -> bool:
        """Whether the edit is not shown to do more."""
        return self.ci95[0] <= 0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LabelBias:
        """The record of a manifest's ``results.label_bias``."""
        low, high = document["ci95"]
        return cls(**{**document, "offsets": tuple(document["offsets"]), "ci95": (low, high)})


@dataclass(frozen=True)
class SelectionCorrected(Record):
    """What the best of the candidates is worth by the rows that chose it, without what choosing adds (BBC-CV).

    Attributes:
        n: how many rows.
        candidates: how many there were to choose from, beside the unedited model.
        corrected: the accuracy of the best on rows that did not choose it.
        ci95: 95 % interval of that minus the accuracy of the base model.
    """

    n: int
    candidates: int
    corrected: float
    ci95: tuple[float, float]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SelectionCorrected:
        """The record of a manifest's ``results.bbc_cv``."""
        low, high = document["ci95"]
        return cls(**{**document, "ci95": (low, high)})


@dataclass(frozen=True)
class Guard(Record):
    """What the edit does to text that has nothing to do with its task.

    Attributes:
        text: what was read: "bundled", a task, or a file's name and hash.
        tokens: how many next tokens were predicted.
        kl: mean over them of KL(base ‖ edited) of the distributions of the next token, nats.
        baseline_perplexity: of the base model.
        edited_perplexity: with the edit.
    """

    text: str
    tokens: int
    kl: float
    baseline_perplexity: float
    edited_perplexity: float


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
        control: random edits on the rows of ``test``.
        label_bias: the correction of the labels' likelihoods on the rows of ``test``.
        guard: what the edit does to other text.
        bbc_cv: the calibration figure without what choosing the best adds, where there is no ``test``.
        confirmation: on the rows on which the best candidates were compared again.
    """

    calibration: Measurement | None
    test: Measurement | None
    reported: Reported | None = None
    control: RandomControl | None = None
    label_bias: LabelBias | None = None
    guard: Guard | None = None
    bbc_cv: SelectionCorrected | None = None
    confirmation: Measurement | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Results:
        """The record of a manifest's ``results``."""
        calibration, test, reported = (document.get(part) for part in ("calibration", "test", "reported"))
        return cls(
            None if calibration is None else Measurement.from_json(calibration),
            None if test is None else Measurement.from_json(test),
            None if reported is None else Reported(**reported),
            None if "control" not in document else RandomControl.from_json(document["control"]),
            None if "label_bias" not in document else LabelBias.from_json(document["label_bias"]),
            None if "guard" not in document else Guard(**document["guard"]),
            None if "bbc_cv" not in document else SelectionCorrected.from_json(document["bbc_cv"]),
            None if "confirmation" not in document else Measurement.from_json(document["confirmation"]),
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
        device: what computed, "cpu" or the name of a GPU.
    """

    created: str | None
    tool: str
    source: str | None
    versions: Mapping[str, str]
    batch_tokens: int | None = None
    device: str | None = None


NO_RESULTS = Results(calibration=None, test=None)
"""Of an edit that nobody measured."""
