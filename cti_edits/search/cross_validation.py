"""How many directions are fitted for how many epochs: by cross-validation within the calibration rows, never on others.

Each epoch of each fit goes to the search log, so that a search that was stopped goes on from the last one.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.harness.calibration import GoldRequest
from cti_edits.search.candidates import Candidate
from cti_edits.search.direction_gradients import DirectionGradients
from cti_edits.search.directions import Direction, chosen_directions
from cti_edits.search.log_values import vectors_from, vectors_json
from cti_edits.search.logged_outcomes import meaning
from cti_edits.search.scale_fit import FitSettings, FitState, ScaleFit
from cti_edits.search.search_log import Steps
from cti_edits.search.settings import fold_count
from cti_edits.search.trials import SearchContext


@dataclass(frozen=True)
class Fitted(Candidate):
    """The factors of ``count`` directions, fitted for ``epochs`` epochs."""

    count: int
    epochs: int

    def __str__(self) -> str:
        return f"{self.count} directions fitted for {self.epochs} epochs"

    def cells(self) -> Mapping[str, str]:
        """See `Candidate.cells`."""
        return {"directions": str(self.count), "epochs": str(self.epochs)}


def folds_of(count: int, seed: int) -> list[list[int]]:
    """``count`` rows in `settings.fold_count` parts, drawn at random."""
    rows = list(range(count))
    random.Random(seed).shuffle(rows)
    parts = fold_count(count)
    return [sorted(rows[number::parts]) for number in range(parts)]


def fitted_candidates(
    context: SearchContext, gradients: DirectionGradients
) -> dict[Candidate, Mapping[Direction, float]]:
    """The factors that are fitted on all calibration rows, with the number of directions and of epochs that did best.

    Each fold's directions are chosen by the gradients on the other folds, so that nothing of a row that is held out
    reaches what it judges.

    Args:
        context: of the search.
        gradients: of the calibration rows, by fold; with those of each fold.

    Raises:
        EditError: a loss, a gradient or a factor is not finite.
    """
    settings, requests = context.settings, context.scored.gold
    counts, folds, epochs = settings.directions, gradients.folds, settings.epochs
    losses: dict[tuple[int, int], float] = {}
    if len(folds) > 1:
        with context.progress.phase("cross-validation", len(counts) * len(folds) * epochs) as advance:
            for count in counts:
                if losses and context.budget.over():
                    break
                found = _held_out_losses(context, gradients, count, advance)
                losses |= {(count, epoch): loss for epoch, loss in enumerate(found, start=1)}
                advance((epochs - len(found)) * len(folds))
    count, epochs = min(losses, key=lambda name: losses[name]) if losses else (counts[0], epochs)
    chosen = chosen_directions(gradients, count)
    fit = ScaleFit(context.session, context.targets, gradients, chosen, requests, FitSettings(), settings.seed)
    steps = _steps_of(context, count, None)
    with context.progress.phase("fitting", epochs * len(requests)) as advance:
        for _ in range(epochs):
            if fit.epoch and context.budget.over():
                break
            _logged_epoch(fit, steps, lambda: 0.0, advance, len(requests))
    return {Fitted(len(chosen), fit.epoch): fit.scales()}


def _held_out_losses(
    context: SearchContext, gradients: DirectionGradients, count: int, advance: Callable[[int], None]
) -> list[float]:
    """After each epoch, the loss on rows that were held out, summed over all folds; until it rises (early stopping).

    Args:
        context: of the search.
        gradients: of the calibration rows, with those of each fold.
        count: N.
        advance: told of each epoch of each fold.
    """
    requests, folds = context.scored.gold, gradients.folds
    fits = []
    for held_out in range(len(folds)):
        inside = gradients.without(held_out)
        rows = [requests[row] for number, fold in enumerate(folds) if number != held_out for row in fold]
        chosen = chosen_directions(inside, count)
        seed = context.settings.seed
        fits.append(ScaleFit(context.session, context.targets, inside, chosen, rows, FitSettings(), seed))
    found: list[float] = []
    for _ in range(context.settings.epochs):
        if found and context.budget.over():
            break
        total = 0.0
        for number, (fit, fold) in enumerate(zip(fits, folds, strict=True)):
            held_out_rows = [requests[row] for row in fold]
            loss = functools.partial(_total_loss, fit, held_out_rows)
            total += _logged_epoch(fit, _steps_of(context, count, number), loss)
            advance(1)
        found.append(total if math.isfinite(total) else math.inf)
        if len(found) > 1 and found[-1] >= found[-2]:
            break
    return found


def _total_loss(fit: ScaleFit, requests: Sequence[GoldRequest]) -> float:
    return math.fsum(fit.losses(requests))


def _steps_of(context: SearchContext, count: int, held_out: int | None) -> Steps:
    """The steps of one fit in a search log."""
    return context.steps.under(**meaning(context.settings), directions=count, held_out=held_out)


def _logged_epoch(
    fit: ScaleFit,
    steps: Steps,
    loss: Callable[[], float],
    advance: Callable[[int], None] = lambda _: None,
    rows: int = 0,
) -> float:
    """The next epoch of a fit, or its end in the log; and the loss after it.

    Args:
        fit: what is fitted.
        steps: of this fit.
        loss: measures it.
        advance: told of the rows.
        rows: how many there are.
    """
    epoch = {"epoch": fit.epoch + 1}
    known = steps.get("fit", epoch, vectors_from)
    if known is not None:
        p, mean, square, measured = known
        fit.skip_epoch(FitState(p, mean, square))
        advance(rows)
        return float(measured)
    fit.run_epoch(advance)
    found = loss()
    state = fit.state()
    steps.put(
        "fit", (epoch, vectors_json([state.p, state.mean, state.square, torch.tensor([found], dtype=torch.float64)]))
    )
    return found
