"""The order of a search: gradients, scores, candidates, evaluations, winner; and the manifest of what came of it."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cti_edits.artifact.manifest import BaseModel, Edit, MatrixEdit
from cti_edits.artifact.ranks import block_ranks, row_block_sizes
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.linalg.block_spectra import tied_blocks
from cti_edits.linalg.energy import retained_energy
from cti_edits.linalg.lowrank import truncate
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix, applied, target_matrices
from cti_edits.models.checkpoint import Checkpoint
from cti_edits.models.identity import checkpoint_of, identity_of
from cti_edits.models.wrappers import inner_model
from cti_edits.progress import Progress, Silent
from cti_edits.replay.evaluator import EvaluatorName, evaluator_of
from cti_edits.search.evaluations import EditedWeights, EvaluatedCandidates, completed, evaluate, shape_of
from cti_edits.search.record import what_was_asked
from cti_edits.search.scoring import rank_matrices
from cti_edits.search.space import Candidate, MatrixId, Outcome, SearchSettings, candidates
from cti_edits.stats import mcnemar_p_value, paired_interval
from cti_edits.version import __version__


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        unedited: the base model on the calibration examples.
        outcomes: the candidates that were evaluated to the end.
        stopped: those that were not, since they could not win any more.
        best: the winner; ``unedited`` if nothing beat it.
        edit: the manifest of the winner.
    """

    unedited: Outcome
    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome
    edit: Edit


def run_search(
    lm: Any,
    calibration: CalibrationSet,
    settings: SearchSettings,
    name: str,
    base_id: str,
    progress: Progress | None = None,
    gradient_examples: CalibrationSet | None = None,
    test: CalibrationSet | None = None,
    evaluator: EvaluatorName = "replay",
    exact_stop: bool = True,
    batch_rows: int | None = None,
) -> SearchResult:
    """Search an edit of ``lm`` on the calibration examples (DESIGN section 2).

    Args:
        lm: a model of `lm` or `masked_lm`; its weights are as they were when this returns or raises.
        calibration: the examples that every candidate is evaluated on.
        settings: what is tried.
        name: the edit's name.
        base_id: the base model's id for the manifest.
        progress: told about each phase.
        gradient_examples: the examples that the gradients are taken on, if they are others; see
            `search.examples`.
        test: the rows that the winner is measured on once, with the unedited model beside it; None for no such
            measurement.
        evaluator: "replay", or "reference" to edit the model and ask lm-eval for every candidate.
        exact_stop: whether to stop a candidate that provably cannot win any more.
        batch_rows: packed rows in one pass of the fast evaluator; by the kind of device if None.

    Raises:
        EditError: a setting does not fit the model, or a loss, weight or score is not finite.
    """
    progress = progress or Silent()
    cache = SpectrumCache()
    targets = {MatrixId(t.layer, t.matrix): t for t in target_matrices(lm.model, settings.matrices)}
    for target in targets.values():
        for clusters in settings.clusters:
            row_block_sizes(target.weight.shape[0], clusters)
    scored = gradient_examples or calibration
    if settings.top_q is None:
        kept = {clusters: list(targets) for clusters in settings.clusters}
    else:
        kept = rank_matrices(lm, scored, settings, settings.top_q, targets, cache, progress)
    groups = candidates(kept, settings.rates)
    weights = EditedWeights(targets, cache, settings.partition, settings.seed)
    evaluated = evaluate(
        evaluator_of(evaluator, lm, calibration, progress, batch_rows), weights, groups, exact_stop, progress
    )
    drawn = calibration if settings.top_q is None else scored
    edit = _manifest(lm, calibration, drawn, settings, name, base_id, targets, evaluated)
    if test is not None:
        measured = _measure_test(evaluator, lm, test, edit, progress, batch_rows)
        edit = dataclasses.replace(edit, results={**edit.results, "test": measured})
    return SearchResult(evaluated.unedited, evaluated.outcomes, evaluated.stopped, evaluated.best, edit)


def _measure_test(
    evaluator: EvaluatorName, lm: Any, test: CalibrationSet, edit: Edit, progress: Progress, batch_rows: int | None
) -> dict[str, Any]:
    """The unedited and the edited model on the test rows, for the manifest's ``results.test``."""
    with progress.phase("test part", 2 if edit.edits else 1) as advance:
        test_evaluator = evaluator_of(evaluator, lm, test, progress, batch_rows)
        baseline = completed(test_evaluator.evaluate())
        advance(1)
        edited = baseline
        if edit.edits:
            with applied(edit, lm.model, **lm.checkpoint_location):
                # From the start: asked once, what enters the edited block would only take memory.
                edited = completed(test_evaluator.evaluate())
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
    evaluated: EvaluatedCandidates,
) -> Edit:
    """The manifest of the winner; an empty edit where nothing beat the unedited model."""
    unedited, best = evaluated.unedited, evaluated.best
    checkpoint = checkpoint_of(lm.model, **lm.checkpoint_location)
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
            architecture=type(inner_model(lm.model)).__name__,
            dtype=str(next(iter(targets.values())).parameter.dtype).removeprefix("torch."),
        ),
        edits=edits,
        task={"name": calibration.name, "dataset": calibration.dataset, "metric": str(calibration.metric)},
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
            "candidates": len(evaluated.outcomes) + len(evaluated.stopped),
            **what_was_asked(lm, calibration, drawn),
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
            **({} if evaluated.batch_tokens is None else {"batch_tokens": evaluated.batch_tokens}),
        },
    )


def _matrix_edit(
    target: TargetMatrix, candidate: Candidate, partition: str, checkpoint: Checkpoint | None
) -> MatrixEdit:
    shape = shape_of(target)
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
        tied_blocks=tied_blocks(target.weight, ranks, partition) or None,
        retained_energy=retained_energy(target.weight, edited, candidate.clusters, partition),
    )
