"""A small search: the rank cuts of some matrices, the best of them by the calibration rows, and it on held-out rows."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.evaluation import Evaluation
from cti_edits.replay.session import Session
from cti_edits.search.candidates import Candidate, MatrixId, RankCut, candidates
from cti_edits.search.edited_weights import EditedWeights
from cti_edits.search.evaluate import completed, evaluate
from cti_edits.search.rank_cuts import RankCutTrials
from cti_edits.search.trials import Trials
from cti_edits.stats import mcnemar_p_value
from cti_edits.studies.context import EvaluatedRows, StudyContext
from cti_edits.studies.study import Record


@dataclass(frozen=True, kw_only=True)
class Winner(Record):
    """What a search found.

    Attributes:
        matrix: role of the winner's matrix; None where no candidate beat the unedited model.
        layer: likewise.
        clusters: its K.
        rho: its ρ.
        candidates: how many were tried.
        calibration_rows: rows that chose it.
        calibration_baseline: the unedited model's accuracy on them.
        calibration_edited: the winner's.
        held_out_rows: rows that had no part in the choice.
        baseline: the unedited model's accuracy on them.
        edited: the winner's.
        baseline_nll: the unedited model's NLL of the gold answer on them, nats.
        edited_nll: the winner's.
        p_value: of McNemar's exact test on them.
    """

    matrix: str | None
    layer: int | None
    clusters: int | None
    rho: float | None
    candidates: int
    calibration_rows: int
    calibration_baseline: float
    calibration_edited: float
    held_out_rows: int
    baseline: float
    edited: float
    baseline_nll: float
    edited_nll: float
    p_value: float


WINNER_HEADINGS = ("winner", "calibration", "held-out base", "held-out edited", "p")
"""Of `winner_cells`."""


def winner_cells(found: Winner) -> tuple[str, ...]:
    """The winner and its accuracies, for a table."""
    cut = "none"
    if found.matrix is not None and found.layer is not None and found.clusters is not None and found.rho is not None:
        cut = str(RankCut(MatrixId(found.layer, found.matrix), found.clusters, found.rho))
    return (
        cut,
        f"{100 * found.calibration_baseline:.1f} → {100 * found.calibration_edited:.1f} %",
        f"{100 * found.baseline:.1f} %",
        f"{100 * found.edited:.1f} %",
        f"{found.p_value:.2g}",
    )


ACCURACY = "held-out accuracy, %"
"""What pictures of winners say beside their axis."""


def rank_cut_trials(
    context: StudyContext, kept: Mapping[int, Sequence[MatrixId]], partition: str = ROW_BLOCKS, seed: int = 0
) -> Trials:
    """Every ρ of the question for each matrix that is kept at a K.

    Args:
        context: of the study.
        kept: for each K, the matrices.
        partition: how rows are assigned to blocks.
        seed: of that.
    """
    roles = sorted({place.matrix for places in kept.values() for place in places})
    weights = EditedWeights(context.targets(roles), context.cache, partition, seed)
    return RankCutTrials(weights, candidates(kept, context.question.rates))


def search(context: StudyContext, calibration: CalibrationSet, trials: Trials) -> Winner:
    """The best of some trials by the calibration rows, and how it does on the held-out rows.

    Raises:
        EditError: a loss or a weight is not finite.
    """
    session = context.session
    evaluated = evaluate(session, session.evaluator(calibration), trials, True, context.progress)
    held_out, best = context.held_out, evaluated.best.candidate
    edited = held_out.unedited if best is None else _on(held_out, session, trials, best)
    cut = best if isinstance(best, RankCut) else None
    return Winner(
        matrix=None if cut is None else cut.target.matrix,
        layer=None if cut is None else cut.target.layer,
        clusters=None if cut is None else cut.clusters,
        rho=None if cut is None else cut.rho,
        candidates=len(trials.candidates),
        calibration_rows=len(calibration.doc_ids),
        calibration_baseline=evaluated.unedited.accuracy,
        calibration_edited=evaluated.best.accuracy,
        held_out_rows=len(held_out.rows.doc_ids),
        baseline=held_out.unedited.accuracy,
        edited=edited.accuracy,
        baseline_nll=held_out.unedited.nll,
        edited_nll=edited.nll,
        p_value=mcnemar_p_value(held_out.unedited.correct, edited.correct),
    )


def _on(rows: EvaluatedRows, session: Session, trials: Trials, candidate: Candidate) -> Evaluation:
    """The model on some rows with the weights that `apply.apply` gives it for a candidate."""
    trial = trials.as_applied(candidate) or next(iter(trials.trials([candidate])))
    with contextlib.ExitStack() as replaced:
        for target, weight in trial.weights:
            replaced.enter_context(session.replaced_weight(target, weight))
        # From the start: what enters the edited block would only take memory, since each is asked about once.
        return completed(rows.evaluator.evaluate())
