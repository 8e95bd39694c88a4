"""The objects that commands print with ``--json``. The page docs/json.md is made of their docstrings."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_edits.artifact.manifest import Edit
from cti_edits.stats import Verdict

if TYPE_CHECKING:
    from cti_edits.linalg.spectrum_files import Entry
    from cti_edits.models.footprint import Size
    from cti_edits.models.verify import TensorCheck
    from cti_edits.search.cost import Cost
    from cti_edits.search.reproduction import Changed, Figure, Grade, Reproduction
    from cti_edits.search.runner import SearchResult


@dataclass(frozen=True)
class SearchEnd:
    """What a search found; one object at its end.

    Attributes:
        file: the manifest that was written.
        name: of the edit.
        digest: of the edit.
        winner: the best candidate in words; null where nothing beat the unedited model.
        verdict: what held-out rows allow one to say: an object with word and reason; null where none were measured.
        results: the manifest's: calibration, test, control and what else was measured.
        tried: how many candidates were evaluated to the end.
        stopped: how many were not, since they could not win any more.
        failed: with how many a loss was not finite.
    """

    file: Path
    name: str
    digest: str
    winner: str | None
    verdict: Verdict | None
    results: Mapping[str, Any]
    tried: int
    stopped: int
    failed: int

    @classmethod
    def of(cls, file: Path, result: SearchResult) -> SearchEnd:
        """The record of a search whose edit was written to ``file``."""
        edit, best, test = result.edit, result.best.candidate, result.edit.results.test
        return cls(
            file,
            edit.name,
            edit.digest(),
            None if best is None else str(best),
            None if test is None else test.verdict(),
            edit.results.to_json(),
            len(result.outcomes),
            len(result.stopped),
            len(result.failed),
        )


@dataclass(frozen=True)
class Reproduced:
    """What came of a search that was run again.

    Attributes:
        grade: "bytes", "winner", "figures" or "not reproduced".
        recorded_digest: of the edit.
        found_digest: of what was found this time; null where nothing was run.
        changed: what is not as it was recorded: an object each with what, recorded and now.
        figures: accuracies that were measured both times: an object each with rows, model, n, recorded, ci95, now and
            within.
    """

    grade: Grade
    recorded_digest: str
    found_digest: str | None
    changed: tuple[Changed, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, digest: str, found: Reproduction) -> Reproduced:
        """The record of a reproduction of the edit with this digest."""
        again = None if found.edit is None else found.edit.digest()
        return cls(found.grade, digest, again, found.changed, found.figures)


@dataclass(frozen=True)
class ShownEdit:
    """An edit.

    Attributes:
        digest: of the edit.
        manifest: all of it, as the file has it.
        verdict: what held-out rows allow one to say: an object with word and reason; null where none were measured.
        parameters: with --model: of that model, factored and dense; else null.
        bytes: with --model: likewise, as the model is stored.
    """

    digest: str
    manifest: Mapping[str, Any]
    verdict: Verdict | None
    parameters: Size | None = None
    bytes: Size | None = None

    @classmethod
    def of(cls, edit: Edit, sizes: tuple[Size, Size] | None) -> ShownEdit:
        """The record of an edit; ``sizes`` are those of `footprint.model_size`."""
        test = edit.results.test
        numbers, stored = sizes or (None, None)
        return cls(edit.digest(), edit.to_json(), None if test is None else test.verdict(), numbers, stored)


@dataclass(frozen=True)
class ListedEdit:
    """An edit, one object each.

    Attributes:
        file: the manifest.
        name: of the edit.
        task: that it was made for, or null.
        model: id of the base model.
        matrices: those that it changes: an object each with matrix, layer and stack.
        digest: of the edit.
        measured_on: the rows of the two accuracies: "test", "calibration", "reported" by a publication, or null.
        n: how many; null where that is not known.
        baseline: accuracy of the base model, or null.
        edited: accuracy with the edit, or null.
    """

    file: Path
    name: str
    task: str | None
    model: str
    matrices: tuple[Mapping[str, Any], ...]
    digest: str
    measured_on: str | None
    n: int | None
    baseline: float | None
    edited: float | None

    @classmethod
    def of(cls, file: Path, edit: Edit) -> ListedEdit:
        """The record of the edit in ``file``."""
        measured = ((name, getattr(edit.results, name)) for name in ("test", "calibration", "reported"))
        on, best = next(((name, one) for name, one in measured if one is not None), (None, None))
        return cls(
            file,
            edit.name,
            edit.task.name if edit.task else None,
            edit.base_model.id,
            tuple({"matrix": one.matrix, "layer": one.layer, "stack": one.stack} for one in edit.edits),
            edit.digest(),
            on,
            getattr(best, "n", None),
            getattr(best, "baseline", None),
            getattr(best, "edited", None),
        )


@dataclass(frozen=True)
class SearchCost:
    """What a search costs, in forward passes of one example.

    Attributes:
        preset: its name.
        kind: of the language model.
        rows: of the task.
        layers: of the model.
        candidates: how many edits are tried.
        paper: as the paper counts: gradients, fitting, candidates, unedited, test, control, guard and total.
        here: likewise, as they are spent here.
        here_without_test: the total with --test-rows none.
        speed_up: over laser, as the paper counts.
    """

    preset: str
    kind: str
    rows: int
    layers: int
    candidates: int
    paper: Mapping[str, float]
    here: Mapping[str, float]
    here_without_test: float
    speed_up: float


def passes(cost: Cost) -> dict[str, float]:
    """Forward passes by what they are for, and their total."""
    return {**asdict(cost), "total": cost.total}


@dataclass(frozen=True)
class ListedPlugin:
    """A plugin, one object each.

    Attributes:
        plugin: its name.
        distribution: the package that has it; null where it is left out.
        version: of that package; likewise.
        parts: from each kind of part to the names that it gives.
        left_out: why it is left out, or null.
    """

    plugin: str
    distribution: str | None
    version: str | None
    parts: Mapping[str, list[str]]
    left_out: str | None = None


@dataclass(frozen=True)
class ValidatedFile:
    """A manifest, one object each.

    Attributes:
        file: as it was given.
        valid: whether it is a manifest.
        name: of the edit, or null.
        digest: of the edit, or null.
        error: what is wrong, which also stands on standard error; or null.
    """

    file: str
    valid: bool
    name: str | None = None
    digest: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class VerifiedMatrix:
    """A matrix of the edit, one object each.

    Attributes:
        matrix: its role.
        layer: its block.
        stack: of an encoder-decoder, or null.
        module: its name in the model.
        verdict: "ok", "does not fit" or "cannot tell".
        why: the reason.
    """

    matrix: str
    layer: int
    stack: str | None
    module: str
    verdict: str
    why: str

    @classmethod
    def of(cls, finding: TensorCheck) -> VerifiedMatrix:
        """The record of a finding."""
        one = finding.matrix_edit
        return cls(one.matrix, one.layer, one.stack, one.module, finding.verdict, finding.why)


@dataclass(frozen=True)
class CachedDecomposition:
    """A decomposition on disk, one object each.

    Attributes:
        tensor: sha256 of the weight.
        clusters: number of row blocks K.
        kind: what is stored.
        precision: name of its dtype.
        size: bytes.
        used: time of the last use, UTC.
    """

    tensor: str
    clusters: int
    kind: str
    precision: str
    size: int
    used: str

    @classmethod
    def of(cls, entry: Entry) -> CachedDecomposition:
        """The record of a file of the cache."""
        key, used = entry.key, datetime.datetime.fromtimestamp(entry.used, datetime.timezone.utc)
        when = used.strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(key.sha256, key.clusters, key.kind, key.precision, entry.size, when)


@dataclass(frozen=True)
class ShownArchitecture:
    """Without MODEL: architectures alone. With MODEL: the other keys.

    Attributes:
        architectures: what is known: an object each with name, model_types, kind and stacks.
        model_type: of the model's config.
        class: of transformers, that the model is of.
        kind: of language model.
        parameters: how many numbers the model has.
        stacks: an object each with name, layers and count.
        matrices: an object each with stack, matrix, module, parameter, rows, shape, experts and layers.
        search: what a search tries by default: matrices, count, rows, and presets with candidates and forward passes.
        architecture: name of the architecture file that covers the model; null where one is proposed.
        proposal: the architecture file that is proposed; left out where one is known.
        left_out: matrices of the model that it does not name; likewise.
    """


def records() -> dict[str, type[object]]:
    """What each command prints, by its words."""
    from cti_edits.artifact.differences import Difference
    from cti_edits.doctor import Finding
    from cti_edits.harness.comparison import Comparison
    from cti_edits.search.presets import Preset

    return {
        "search": SearchEnd,
        "reproduce": Reproduced,
        "show": ShownEdit,
        "ls": ListedEdit,
        "presets": Preset,
        "cost": SearchCost,
        "architectures": ShownArchitecture,
        "doctor": Finding,
        "plugins": ListedPlugin,
        "validate": ValidatedFile,
        "verify": VerifiedMatrix,
        "compare": Comparison,
        "diff": Difference,
        "cache ls": CachedDecomposition,
    }
