"""The order of a search: gradients, scores, candidates, evaluations, winner, test part, record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.other_text import OtherText
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import target_matrices
from cti_edits.models.targets import shared_blocks
from cti_edits.progress import Progress, Silent
from cti_edits.replay.session import EvaluatorName, Session
from cti_edits.search.candidates import Candidate
from cti_edits.search.composition import CompositionStep, compose
from cti_edits.search.confirmation import confirm
from cti_edits.search.control import RandomDraws
from cti_edits.search.evaluate import EvaluatedCandidates, evaluate
from cti_edits.search.explanation import NOT_EXPLAINED, Explanation, explanation_of
from cti_edits.search.guard import KlLimit, TextGuard, guarded
from cti_edits.search.log_header import log_header
from cti_edits.search.logged_outcomes import meaning
from cti_edits.search.measure import measure
from cti_edits.search.outcome import Outcome
from cti_edits.search.proposed_trials import proposed
from cti_edits.search.record import asked_of, record
from cti_edits.search.search_log import SearchLog, Steps
from cti_edits.search.selection_bias import selection_corrected
from cti_edits.search.settings import CONTROL_DRAWS, SearchSettings, check_limit
from cti_edits.search.time_budget import TimeBudget
from cti_edits.search.trials import SearchContext


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        unedited: the base model on the calibration examples.
        outcomes: the candidates that were evaluated to the end.
        stopped: those that were not, since they could not win any more.
        best: the winner; ``unedited`` if nothing beat it.
        edit: the manifest of the winner.
        failed: the candidates with which a loss was not finite, or that are over the limit on other text.
        steps: where edits were composed, each of them; ``outcomes`` and ``best`` are those of the first.
        explanation: why these candidates were tried; of the first, where edits were composed.
        again: where the best candidates were compared again, what the fresh rows gave of them.
    """

    unedited: Outcome
    outcomes: tuple[Outcome, ...]
    stopped: tuple[Candidate, ...]
    best: Outcome
    edit: Edit
    failed: tuple[Candidate, ...] = ()
    steps: tuple[CompositionStep, ...] = ()
    explanation: Explanation = NOT_EXPLAINED
    again: EvaluatedCandidates | None = None


def run_search(
    lm: EditedHFLM,
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
    control: bool = False,
    bbc_cv: bool = False,
    guard: OtherText | None = None,
    confirmation: CalibrationSet | None = None,
    log: SearchLog | None = None,
    time_budget: float | None = None,
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
        control: whether random edits are measured on the test rows, too, and the correction of labels that needs no
            edit; see `control` and `label_bias`.
        bbc_cv: whether, without test rows, what choosing the best adds is taken off the figure of the calibration
            examples; see `selection_bias`. Every candidate is then evaluated to the end.
        guard: the text on which the winner is compared with the unedited model; None for no such comparison.
        confirmation: the fresh rows by which the winner is chosen among the best ``settings.confirm`` candidates.
        log: where finished steps are, and go to; none are kept if None.
        time_budget: seconds after which no further candidate is tried; the winner is then the best of those that were,
            and the manifest says so.

    Raises:
        EditError: a setting does not fit the model, a loss, weight or score is not finite, a plugin's part fails, or
            the log is of another search.
        WriteError: the log cannot be written.
    """
    progress = progress or Silent()
    check_limit(settings.max_kl, guard is not None)
    if (settings.confirm is None) != (confirmation is None):
        raise EditError("confirm: expected fresh rows and how many candidates are compared on them, or neither")
    bbc_cv = bbc_cv and test is None and confirmation is None
    exact_stop = exact_stop and not bbc_cv and confirmation is None
    cache = SpectrumCache()
    targets = {t.id: t for t in target_matrices(lm.model, settings.matrices) if settings.stack in (None, t.stack)}
    if shared := shared_blocks(lm.model):
        progress.note(shared)
    scored = calibration if not settings.takes_gradients else gradient_examples or calibration
    budget = TimeBudget(time_budget)
    asked = asked_of(lm, calibration)
    if log is not None:
        header = log_header(
            asked,
            settings,
            {"gradients": scored, "test": test, "confirmation": confirmation},
            guard,
            name=name,
            base_model=base_id,
            device=str(lm.device),
            evaluator=evaluator,
            exact_stop=exact_stop,
            batch_rows=batch_rows,
            control=control,
            bbc_cv=bbc_cv,
        )
        if known := log.begin(header):
            progress.note(f"goes on where it stopped: {known:,} steps are in {log.shown}")
    known_steps = Steps() if log is None else log.steps
    of_candidates = known_steps.under(**meaning(settings))
    with Session(lm, evaluator, batch_rows, progress) as session:
        context = SearchContext(session, settings, targets, calibration, scored, cache, progress, known_steps, budget)
        text = None if guard is None else TextGuard(session, guard)
        limit = None if text is None or settings.max_kl is None else KlLimit(text, settings.max_kl, of_candidates)
        trials = proposed(context)
        evaluator_of_all = session.evaluator(calibration)
        evaluated = evaluate(
            session,
            evaluator_of_all,
            trials,
            exact_stop,
            progress,
            settings.selector,
            calibration.gold_index,
            limit,
            steps=of_candidates,
            budget=budget,
        )
        confirmed = None
        if settings.confirm is not None and confirmation is not None:
            evaluated, confirmed = confirm(
                session,
                evaluator_of_all,
                calibration,
                confirmation,
                trials,
                evaluated,
                settings.confirm,
                progress,
                settings.selector,
                limit,
                of_candidates,
            )
        edit = record(lm, asked, calibration, scored, settings, name, base_id, trials, evaluated, confirmation)
        if confirmed is not None:
            edit = _with_results(edit, confirmation=confirmed.measurement)
        explanation = explanation_of(trials, evaluated.best.candidate)
        steps: tuple[CompositionStep, ...] = ()
        if settings.compose > 1:
            edit, steps = compose(context, trials, evaluated, edit, proposed, exact_stop, test)
        if test is not None:
            draws = RandomDraws(CONTROL_DRAWS, settings.seed, cache) if control else None
            measured = measure(session, test, edit, progress, draws, calibration if control else None, known_steps)
            edit = _with_results(edit, **vars(measured))
        elif bbc_cv and evaluated.outcomes and not steps:
            corrected = selection_corrected(evaluated.unedited, evaluated.outcomes, settings.seed)
            edit = _with_results(edit, bbc_cv=corrected)
        if budget.cut and edit.search is not None:
            edit = dataclasses.replace(edit, search=dataclasses.replace(edit.search, time_budget=budget.seconds))
        if text is not None:
            edit = _with_results(edit, guard=guarded(session, text, edit, progress))
    return SearchResult(
        evaluated.unedited,
        evaluated.outcomes,
        evaluated.stopped,
        evaluated.best,
        edit,
        evaluated.failed,
        steps,
        explanation,
        None if confirmed is None else confirmed.again,
    )


def _with_results(edit: Edit, **found: object) -> Edit:
    return dataclasses.replace(edit, results=dataclasses.replace(edit.results, **found))  # type: ignore[arg-type]
