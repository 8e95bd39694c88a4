"""The order of a search: gradients, scores, candidates, evaluations, winner; and the manifest of what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import torch

from cti_edits import __version__
from cti_edits.apply import TargetMatrix, applied, target_matrices
from cti_edits.calibration import CalibrationSet
from cti_edits.checkpoint import Checkpoint
from cti_edits.energy import retained_energy
from cti_edits.errors import EditError, FitError
from cti_edits.identity import checkpoint_of, identity_of
from cti_edits.lowrank import decompose, truncate
from cti_edits.manifest import BaseModel, Edit, MatrixEdit
from cti_edits.ranks import ROW_BLOCKS, block_ranks, kept_parameters, row_block_sizes
from cti_edits.search.evaluate import Measured, ReferenceEvaluator
from cti_edits.search.gradients import loss_gradients
from cti_edits.search.space import Candidate, MatrixId, Outcome, SearchSettings, candidates, keep_best, winner
from cti_edits.spectrum import matrix_score, sigma_gradients
from cti_edits.stats import mcnemar_p_value, paired_interval
from cti_edits.subspaces import k_subspaces


class Progress(Protocol):
    """Where a search says how far it is."""

    def phase(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A phase of ``total`` steps; the function inside is told how many more steps are done."""


class Silent:
    """Says nothing."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """See `Progress`."""
        yield lambda _: None


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        unedited: the base model on the calibration examples.
        outcomes: every candidate, in the order in which they were tried.
        best: the winner; ``unedited`` if nothing beat it.
        edit: the manifest of the winner.
    """

    unedited: Outcome
    outcomes: tuple[Outcome, ...]
    best: Outcome
    edit: Edit


def run_search(
    lm: Any,
    calibration: CalibrationSet,
    settings: SearchSettings,
    name: str,
    base_id: str,
    batch_size: int,
    progress: Progress | None = None,
    gradient_examples: CalibrationSet | None = None,
    test: CalibrationSet | None = None,
) -> SearchResult:
    """Search an edit of ``lm`` on the calibration examples (DESIGN section 2).

    Args:
        lm: a model of `lm` or `masked_lm`; its weights are as they were when this returns or raises.
        calibration: the examples that every candidate is evaluated on.
        settings: what is tried.
        name: the edit's name.
        base_id: the base model's id for the manifest.
        batch_size: examples in one pass for the gradients.
        progress: told about each phase.
        gradient_examples: the examples that the gradients are taken on, if they are others; see
            `search.examples`.
        test: the rows that the winner is measured on once, with the unedited model beside it; None for no such
            measurement.

    Raises:
        EditError: a setting does not fit the model, or a loss, weight or score is not finite.
    """
    progress = progress or Silent()
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, settings.matrices)}
    for target in targets.values():
        for clusters in settings.clusters:
            row_block_sizes(target.weight.shape[0], clusters)
    scored = gradient_examples or calibration
    if settings.top_q is None:
        kept = {clusters: list(targets) for clusters in settings.clusters}
    else:
        kept = _rank_matrices(lm, scored, settings, settings.top_q, targets, batch_size, progress)
    unedited, outcomes = _evaluate(lm, calibration, settings, targets, kept, progress)
    best = winner([unedited, *outcomes])
    drawn = calibration if settings.top_q is None else scored
    edit = _manifest(lm, calibration, drawn, settings, name, base_id, targets, unedited, best, len(outcomes))
    if test is not None:
        edit = dataclasses.replace(edit, results={**edit.results, "test": _measure_test(lm, test, edit, progress)})
    return SearchResult(unedited, tuple(outcomes), best, edit)


def _rank_matrices(
    lm: Any,
    calibration: CalibrationSet,
    settings: SearchSettings,
    top_q: int,
    targets: Mapping[MatrixId, TargetMatrix],
    batch_size: int,
    progress: Progress,
) -> dict[int, list[MatrixId]]:
    """For each K, the best ``top_q`` matrices by score."""
    with progress.phase("gradients", len(calibration.gold)) as advance:
        gradients = loss_gradients(lm, list(targets.values()), calibration.gold, batch_size, advance)
    scores: dict[int, dict[MatrixId, float]] = {clusters: {} for clusters in settings.clusters}
    with progress.phase("scores", len(targets) * len(settings.clusters)) as advance:
        for (target_id, target), gradient in zip(targets.items(), gradients, strict=True):
            for clusters in settings.clusters:
                try:
                    decompositions = decompose(target.weight.cpu(), clusters)
                    scores[clusters][target_id] = matrix_score(sigma_gradients(decompositions, gradient))
                except EditError as error:
                    raise FitError(f"{target.module}: {error}") from None
                advance(1)
    return {clusters: keep_best(found, top_q) for clusters, found in scores.items()}


def _evaluate(
    lm: Any,
    calibration: CalibrationSet,
    settings: SearchSettings,
    targets: Mapping[MatrixId, TargetMatrix],
    kept: Mapping[int, list[MatrixId]],
    progress: Progress,
) -> tuple[Outcome, list[Outcome]]:
    """The unedited model and every candidate on the calibration examples."""
    evaluator = ReferenceEvaluator(lm, calibration)
    groups = candidates(kept, settings.rates)
    outcomes: list[Outcome] = []
    with progress.phase("evaluations", 1 + sum(len(group) for _, _, group in groups)) as advance:
        unedited = _outcome(None, evaluator.measure(), 0)
        advance(1)
        for target_id, clusters, group in groups:
            target = targets[target_id]
            for candidate, partition, ranks, edited in _edited_weights(target, clusters, group, settings):
                with _in_force(target, edited):
                    measured = evaluator.measure()
                added = kept_parameters(_shape(target), ranks, partition) - target.weight.numel()
                outcomes.append(_outcome(candidate, measured, added, partition))
                advance(1)
    return unedited, outcomes


def _edited_weights(
    target: TargetMatrix, clusters: int, group: Sequence[Candidate], settings: SearchSettings
) -> Iterator[tuple[Candidate, str, tuple[int, ...], torch.Tensor]]:
    """Each candidate of a group with its partition, its ranks and its edited weight, as `apply` will compute it.

    The same function on the same device: what is measured here is bit for bit what the manifest gives.
    """
    weight, shape = target.weight, _shape(target)
    for candidate in group:
        partition = ROW_BLOCKS
        if settings.partition != ROW_BLOCKS:
            partition = k_subspaces(weight, clusters, candidate.rho, settings.seed)
        ranks = block_ranks(shape, clusters, candidate.rho, partition)
        yield candidate, partition, ranks, truncate(weight, ranks, partition=partition)


def _shape(target: TargetMatrix) -> tuple[int, int]:
    return target.weight.shape[0], target.weight.shape[1]


@contextlib.contextmanager
def _in_force(target: TargetMatrix, edited: torch.Tensor) -> Iterator[None]:
    """The edited weight inside, the former bits after it."""
    former = target.weight.clone()
    try:
        with torch.no_grad():
            target.weight.copy_(edited)
        yield
    finally:
        with torch.no_grad():
            target.weight.copy_(former)


def _outcome(
    candidate: Candidate | None, measured: Measured, added_parameters: int, partition: str = ROW_BLOCKS
) -> Outcome:
    return Outcome(
        candidate,
        measured.accuracy,
        measured.nll,
        measured.correct,
        added_parameters,
        partition,
        measured.predicted,
    )


def _measure_test(lm: Any, test: CalibrationSet, edit: Edit, progress: Progress) -> dict[str, Any]:
    """The unedited and the edited model on the test rows, for the manifest's ``results.test``."""
    evaluator = ReferenceEvaluator(lm, test)
    with progress.phase("test part", 2 if edit.edits else 1) as advance:
        baseline = evaluator.measure()
        advance(1)
        edited = baseline
        if edit.edits:
            with applied(edit, lm.model):
                edited = evaluator.measure()
            advance(1)
    return {
        "n": len(test.doc_ids),
        "baseline": baseline.accuracy,
        "edited": edited.accuracy,
        "majority_class": test.majority_class,
        "baseline_nll": baseline.nll,
        "edited_nll": edited.nll,
        "ci95": list(paired_interval(baseline.correct, edited.correct)),
        "p_value": mcnemar_p_value(baseline.correct, edited.correct),
    }


def _manifest(
    lm: Any,
    calibration: CalibrationSet,
    drawn: CalibrationSet,
    settings: SearchSettings,
    name: str,
    base_id: str,
    targets: Mapping[MatrixId, TargetMatrix],
    unedited: Outcome,
    best: Outcome,
    tried: int,
) -> Edit:
    """The manifest of the winner; an empty edit where nothing beat the unedited model."""
    checkpoint = checkpoint_of(lm.model, lm.revision)
    edits: tuple[MatrixEdit, ...] = ()
    if best.candidate is not None:
        edits = (_matrix_edit(targets[best.candidate.target], best.candidate, best.partition, checkpoint),)
    revision = None if lm.revision in (None, "main") else str(lm.revision)
    if checkpoint is not None and checkpoint.commit is not None:
        revision = checkpoint.commit
    found = "no candidate beat the unedited model"
    if edits:
        found = f"{edits[0].matrix} of layer {edits[0].layer} at ρ = {edits[0].rho:g}, K = {edits[0].clusters}"
    return Edit(
        name=name,
        description=f"Found by a search on {calibration.name}: {found}.",
        base_model=BaseModel(
            id=base_id,
            revision=revision,
            architecture=type(lm.model).__name__,
            dtype=str(next(iter(targets.values())).parameter.dtype).removeprefix("torch."),
        ),
        edits=edits,
        task={"name": calibration.name, "dataset": calibration.dataset, "metric": "acc"},
        search={
            "preset": settings.preset,
            "seed": settings.seed,
            "samples": len(drawn.doc_ids),
            "sample_ids_sha256": drawn.ids_sha256,
            "evaluated_on": len(calibration.doc_ids),
            "top_q": settings.top_q,
            "clusters": list(settings.clusters),
            "rates": list(settings.rates),
            "matrices": list(settings.matrices),
            "candidates": tried,
        },
        results={
            "calibration": {
                "n": len(calibration.doc_ids),
                "baseline": unedited.accuracy,
                "edited": best.accuracy,
                "majority_class": calibration.majority_class,
                "baseline_nll": unedited.nll,
                "edited_nll": best.nll,
            },
            "test": None,
        },
        provenance={
            "created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tool": f"cti-edits {__version__}",
            "source": None,
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in ("lm_eval", "torch", "transformers")},
            },
        },
    )


def _matrix_edit(
    target: TargetMatrix, candidate: Candidate, partition: str, checkpoint: Checkpoint | None
) -> MatrixEdit:
    shape = _shape(target)
    ranks = block_ranks(shape, candidate.clusters, candidate.rho, partition)
    identity = identity_of(target.parameter, f"{target.module}.weight", checkpoint)
    edited = truncate(target.weight, ranks, partition=partition)
    return MatrixEdit(
        matrix=target.matrix,
        layer=target.layer,
        module=target.module,
        shape=shape,
        rho=candidate.rho,
        clusters=candidate.clusters,
        block_ranks=ranks,
        partition=partition,
        sha256=identity.sha256,
        frobenius_norm=identity.frobenius_norm,
        dtype=identity.dtype,
        tensor=identity.tensor,
        retained_energy=retained_energy(target.weight, edited, candidate.clusters, partition),
    )
