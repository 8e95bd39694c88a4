"""Stage 6: the manifest of what a search found, how it asked, and on which rows."""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from cti_edits.artifact.asked import Asked, AskedTask
from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.artifact.records import Measurement, PartRecord, Provenance, Results, SearchRecord, TaskRecord
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.edited_model import EditedHFLM
from cti_edits.harness.metrics import NO_FILTER
from cti_edits.harness.row_hashes import joined
from cti_edits.linalg.devices import device_name
from cti_edits.methods.method import MethodPart
from cti_edits.models.apply import target_matrices
from cti_edits.models.identity import checkpoint_of
from cti_edits.models.wrappers import inner_model
from cti_edits.plugins import provider_of
from cti_edits.search.evaluate import EvaluatedCandidates
from cti_edits.search.partitions import K_MEANS, Partition
from cti_edits.search.presets import DEFAULT_PRESET, Preset
from cti_edits.search.scorers import Scorer
from cti_edits.search.selectors import Selector
from cti_edits.search.settings import SearchSettings
from cti_edits.search.trials import Trials
from cti_edits.version import __version__

MAX_NAME = 100
"""Characters of an edit's name, where it is made here."""

MAX_ROWS = 80_000
"""So many rows are recorded one by one; a manifest has room for no more."""


def record(
    lm: EditedHFLM,
    asked: Asked,
    calibration: CalibrationSet,
    drawn: CalibrationSet,
    settings: SearchSettings,
    name: str,
    base_id: str,
    trials: Trials,
    evaluated: EvaluatedCandidates,
    confirmation: CalibrationSet | None = None,
) -> Edit:
    """The manifest of the winner; an empty edit where nothing beat the unedited model."""
    unedited, best = evaluated.unedited, evaluated.best
    checkpoint = checkpoint_of(lm.model, **lm.checkpoint_location)
    edits = () if best.candidate is None else trials.matrix_edits(best.candidate, checkpoint)
    revision = None if lm.revision in (None, "main") else str(lm.revision)
    if checkpoint is not None and checkpoint.commit is not None:
        revision = checkpoint.commit
    found = "no candidate beat the unedited model" if best.candidate is None else str(best.candidate)
    # A manifest writes the rows of each block as those of K-subspaces.
    assigned = "" if settings.partition != K_MEANS else f"; rows were assigned by {settings.partition}"
    dtype = target_matrices(lm.model, settings.matrices)[0].parameter.dtype
    return Edit(
        name=name,
        description=f"Found by a search on {calibration.name}: {found}{assigned}.",
        base_model=BaseModel(
            id=base_id,
            revision=revision,
            architecture=type(inner_model(lm.model)).__name__,
            dtype=str(dtype).removeprefix("torch."),
        ),
        edits=edits,
        task=TaskRecord(calibration.name, calibration.dataset, str(calibration.metric)),
        search=SearchRecord(
            preset=settings.preset,
            seed=settings.seed,
            samples=len(drawn.doc_ids),
            sample_ids_sha256=drawn.ids_sha256,
            evaluated_on=len(calibration.doc_ids),
            top_q=settings.top_q if settings.cuts_ranks else None,
            clusters=settings.clusters,
            rates=settings.rates if settings.cuts_ranks else (),
            matrices=settings.matrices,
            stack=settings.stack,
            candidates=len(evaluated.outcomes) + len(evaluated.stopped) + len(evaluated.failed),
            row_hashes=_row_hashes(calibration, drawn, *([confirmation] if confirmation else [])),
            asked=asked,
            **_parts(settings),
        ),
        results=Results(
            calibration=Measurement(
                n=len(calibration.doc_ids),
                baseline=unedited.accuracy,
                edited=best.accuracy,
                majority_class=calibration.majority_class,
                baseline_nll=unedited.nll,
                edited_nll=best.nll,
            ),
            test=None,
        ),
        provenance=Provenance(
            created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            tool=f"cti-edits {__version__}",
            source=None,
            versions={
                "python": platform.python_version(),
                **{package: version(package) for package in ("lm_eval", "torch", "transformers")},
            },
            batch_tokens=evaluated.batch_tokens,
            device=device_name(lm.device),
        ),
    )


def _parts(settings: SearchSettings) -> dict[str, Any]:
    """The manifest's fields for what is not the paper's own."""
    own = SearchSettings()
    found: dict[str, Any] = {
        name: value
        for name in ("method", "scorer", "selector", *(() if settings.preset else ("partition", "compose")))
        if (value := getattr(settings, name)) != getattr(own, name)
    }
    found |= {name: value for name in ("confirm", "max_kl") if (value := getattr(settings, name)) is not None}
    if settings.method == DirectionsEdit.METHOD:
        found["directions"] = settings.directions
        found |= {"epochs": settings.epochs} if settings.epochs else {"drops": settings.drops}
    named = (
        ("method", "methods", MethodPart, settings.method),
        ("scorer", "scorers", Scorer, settings.scorer),
        ("selector", "selectors", Selector, settings.selector),
        ("partition", "partitions", Partition, settings.partition),
        ("preset", "presets", Preset, settings.preset),
    )
    parts = tuple(
        PartRecord(kind, name, provider.distribution, provider.version)
        for kind, hook, part, name in named
        if name is not None and not (provider := provider_of(hook, part, name)).is_built_in
    )
    return found | ({"parts": parts} if parts else {})


def _row_hashes(*seen_by_search: CalibrationSet) -> str | None:
    """The manifest's ``search.row_hashes``, None for more than `MAX_ROWS` rows."""
    seen = frozenset(one for rows in seen_by_search for one in rows.row_hashes)
    return joined(seen) if len(seen) <= MAX_ROWS else None


def asked_of(lm: EditedHFLM, calibration: CalibrationSet) -> Asked:
    """The manifest's ``search.asked``: what every candidate was asked on the rows of ``calibration``."""
    model = lm.asked()
    task = calibration.task
    version = getattr(task, "VERSION", None)
    return Asked(
        model.model,
        calibration.prompting.asked(task, model.prompt),
        AskedTask(
            task=calibration.name,
            version=None if version is None else str(version),
            metric=calibration.metric.name,
            filter=None if calibration.metric.filter == NO_FILTER else calibration.metric.filter,
            rows_sha256=_together(calibration.row_hashes),
            prompts_sha256=_together(calibration.prompt_hashes),
        ),
    )


def _together(hashes: Sequence[str]) -> str:
    return hashlib.sha256(",".join(hashes).encode()).hexdigest()


def edit_name(model_type: str, task: str, preset: str | None) -> str:
    """``gptj_fever``, with the preset's name, but for the default one."""
    short = task.removeprefix("cti_").removesuffix("_masked")
    text = f"{model_type}_{short}" + (f".{preset}" if preset not in (None, DEFAULT_PRESET) else "")
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip("._-")
    return kept[:MAX_NAME] or "edit"
