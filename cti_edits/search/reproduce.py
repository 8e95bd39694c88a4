"""The search of an edit once more, from its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.harness.lm import Base, check_matrices, load_base, read_base
from cti_edits.harness.other_text import other_text
from cti_edits.harness.own_rows import OwnRows
from cti_edits.harness.reference_evaluator import BATCH_SIZE
from cti_edits.models.verify import base_checkpoint, verify
from cti_edits.progress import Progress, Silent
from cti_edits.replay.packed_rows import ROW_TOKENS
from cti_edits.search.examples import examples, searched_task
from cti_edits.search.recorded import RecordedSearch, recorded_search
from cti_edits.search.reproduction import Changed, Reproduction, compared
from cti_edits.search.runner import run_search


@dataclass(frozen=True)
class NotRecorded:
    """What a search was given and no manifest says, or what is somewhere else here.

    Attributes:
        model: hub id or checkpoint folder, where it is not the one that the manifest names.
        model_args: further arguments of the model, over those that are recorded.
        rows: of a search on rows of one's own, those.
        test_rows: likewise, the rows that its winner was measured on, if they were given apart.
        include_path: a folder with more tasks.
        metadata: lm-eval's, for tasks whose rows depend on it.
        guard: a text, as `other_text` takes it; the recorded one may be a file.
        device: as lm-eval takes it; if None, a GPU if there is one.
    """

    model: str | None = None
    model_args: Mapping[str, object] = field(default_factory=dict)
    rows: OwnRows | None = None
    test_rows: OwnRows | None = None
    include_path: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    guard: str | None = None
    device: str | None = None


def reproduce(
    edit: Edit, name: str, given: NotRecorded | None = None, progress: Progress | None = None
) -> Reproduction:
    """Run the search of ``edit`` again as its manifest records it, and say what is the same.

    Nothing is run where the rows or the base model are others than then: that would be another search.

    Args:
        edit: what was found.
        name: what messages call it.
        given: what the manifest does not say.
        progress: told about each phase.

    Raises:
        EditError: the manifest records no search, or the model, the task or a part of the search is not here.
    """
    given, progress = given or NotRecorded(), progress or Silent()
    recorded = recorded_search(edit, name)
    base = _base(recorded, given)
    settings = recorded.settings(base.kind)
    check_matrices(base.model_type, settings.matrices, settings.stack)
    try:
        task, settings = searched_task(
            recorded.task.name if given.rows is None else given.rows,
            settings,
            test_rows=given.test_rows,
            held_out=recorded.held_out,
            include_path=given.include_path,
            kind=base.kind,
            # A data set would take the revision for its own.
            metadata={**{k: v for k, v in base.arguments.items() if k != "revision"}, **given.metadata},
        )
    except EditError as error:
        if given.rows is not None:
            raise
        raise EditError(f"{error}; where the search was on rows of one's own, give these (rows)") from None
    prompting, metric = recorded.prompting(), recorded.task.metric
    chosen = examples(task, settings, prompting, metric, recorded.held_out)
    if others := (*_other_rows(recorded, chosen.evaluations), *_other_base(recorded, base, given)):
        return Reproduction("not reproduced", others)
    tokens = edit.provenance.batch_tokens
    guard = other_text(given.guard or recorded.guard, given.include_path, base.kind)
    lm = load_base(base, given.device, recorded.dtype, BATCH_SIZE)
    if prompting.apply_chat_template:
        chosen = examples(task, settings, prompting.with_model(lm), metric, recorded.held_out)
    found = run_search(
        lm,
        chosen.evaluations,
        settings,
        name=edit.name,
        base_id=base.id if given.model is not None else edit.base_model.id,
        progress=progress,
        gradient_examples=chosen.gradients,
        test=chosen.test,
        evaluator=recorded.evaluator,
        batch_rows=None if tokens is None else max(1, tokens // ROW_TOKENS),
        control=edit.results.control is not None or edit.results.label_bias is not None,
        bbc_cv=edit.results.bbc_cv is not None,
        guard=guard,
        confirmation=chosen.confirmation,
    )
    return compared(edit, found.edit)


def _base(recorded: RecordedSearch, given: NotRecorded) -> Base:
    base = recorded.edit.base_model
    place = base.id if given.model is None else given.model
    revision = {} if base.revision is None or place != base.id else {"revision": base.revision}
    return read_base(place, {**recorded.model_arguments(), **revision, **given.model_args})


def _other_rows(recorded: RecordedSearch, rows: CalibrationSet) -> tuple[Changed, ...]:
    """That the rows are not those of the search, if they are not."""
    before = recorded.asked.task.rows_sha256
    now = hashlib.sha256(",".join(rows.row_hashes).encode()).hexdigest()
    return () if before in (None, now) else (Changed("rows", before, now),)


def _other_base(recorded: RecordedSearch, base: Base, given: NotRecorded) -> tuple[Changed, ...]:
    """That the matrices which the edit is of are others in this base, if they are."""
    try:
        revision = base.arguments.get("revision")
        subfolder = base.arguments.get("subfolder")
        checkpoint = base_checkpoint(
            recorded.edit,
            given.model,
            None if revision is None else str(revision),
            subfolder=None if subfolder is None else str(subfolder),
        )
        findings = [one for one in verify(recorded.edit, checkpoint) if one.verdict == "does not fit"]
    except EditError:
        # What it is not readable for, loading it will say.
        return ()
    return tuple(Changed(f"base: {one.matrix_edit.module}", "the recorded one", one.why) for one in findings)
