"""A small search of directions with factors to fit, up to its gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cti_edits.harness.calibration import CalibrationSet
from cti_edits.search.cross_validation import folds_of
from cti_edits.search.direction_gradients import DirectionGradients, direction_gradients
from cti_edits.search.settings import SearchSettings
from cti_edits.search.trials import SearchContext
from tests.support.small_searches import choices, lm_of, search_context
from tests.support.tiny_models import tiny_model

Setting = tuple[SearchContext, DirectionGradients, CalibrationSet]


def prepared(folder: Path, model: Any = None, clusters: int = 1, **settings: Any) -> Setting:
    """A context with the gradients of its rows, by fold."""
    lm = lm_of("gptj", tiny_model("gptj") if model is None else model)
    rows = choices(folder, samples=8)
    asked = SearchSettings(
        **{"method": "directions", "clusters": (clusters,), "directions": (6,), "epochs": 2, **settings}
    )
    context = search_context(lm, rows, asked, folder)
    return context, gradients_of(context), rows


def gradients_of(context: SearchContext) -> DirectionGradients:
    return direction_gradients(
        context.session, context.scored, context.settings.clusters[0], context.targets, context.cache,
        context.progress, folds_of(len(context.scored.gold), context.settings.seed),
    )  # fmt: skip
