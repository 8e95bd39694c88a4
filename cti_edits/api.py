"""What the commands verify, compose, export and compare do, as functions. `import cti_edits` offers them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.harness.comparison import Comparison
    from cti_edits.models.export import Export, Format
    from cti_edits.models.verify import TensorCheck


def verify(
    edit: Edit, model: str | None = None, revision: str | None = None, subfolder: str | None = None
) -> list[TensorCheck]:
    """Whether a checkpoint is the base that ``edit`` was made for; loads no model.

    Args:
        edit: the edit.
        model: checkpoint folder or hub id; the edit's base model if None.
        revision: of the hub; the edit's if neither it nor ``model`` is given.
        subfolder: of the model, with its config and weights.

    Returns:
        For each matrix edit, in order: its verdict ("ok", "does not fit", …) and why.

    Raises:
        EditError: the checkpoint cannot be read.
    """
    from cti_edits.models.verify import base_checkpoint
    from cti_edits.models.verify import verify as checks

    return list(checks(edit, base_checkpoint(edit, model, revision, subfolder=subfolder)))


def compose(edits: Sequence[Edit], name: str | None = None) -> Edit:
    """One edit that does what all of ``edits`` do; they are of one base and of different matrices.

    Args:
        edits: two or more.
        name: the composition's; made of theirs if None.

    Raises:
        EditError: their bases differ, or two of them edit the same matrix.
    """
    from cti_edits.artifact.compose import Source
    from cti_edits.artifact.compose import compose as composed

    return composed([Source(edit.path or Path(edit.name), edit) for edit in edits], name)


def export(
    edit: Edit,
    out: str | Path,
    model: str | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    verify: bool = True,
    format: Format = "checkpoint",  # noqa: A002 (what it is called everywhere)
) -> Export:
    """Write an ordinary checkpoint folder with ``edit`` applied, or a LoRA adapter of the base that does the same.

    Args:
        edit: what to apply.
        out: a folder that is not there yet, or is empty. It appears when it is complete.
        model: checkpoint folder or hub id; the edit's base model if None.
        revision: of the hub; the edit's if neither it nor ``model`` is given.
        subfolder: of the model, with its config and weights.
        verify: refuse a tensor whose hash differs from the manifest's.
        format: "checkpoint", for any engine that loads safetensors, or "peft", for PEFT.

    Raises:
        BaseMismatchError: a tensor is not the one that the edit was made for.
        EditError: the model is no such checkpoint; ``out`` has files or cannot be written; or, for "peft", the edit
            changes nothing, or more ranks than an adapter is made for.
    """
    from cti_edits.hub.repositories import checkpoint_folder
    from cti_edits.models.checkpoint_location import edit_subfolder
    from cti_edits.models.export import HUB_FILES
    from cti_edits.models.export import export as write
    from cti_edits.models.peft_export import export_adapter

    if format not in ("checkpoint", "peft"):
        raise EditError(f"format: expected checkpoint or peft, got {printable(format)!r}")
    if model is None:
        model, revision = edit.base_model.id, revision or edit.base_model.revision
        subfolder = edit_subfolder(edit) if subfolder is None else subfolder
    folder = checkpoint_folder(model, HUB_FILES, revision, subfolder or "")
    if format == "peft":
        return export_adapter(edit, folder, Path(out), model, revision, verify)
    return write(edit, folder, Path(out), verify)


def compare(
    *folders: str | Path, metric: str | None = None, allow_different: Collection[str] = ()
) -> dict[str, Comparison]:
    """Compare lm_eval runs, example by example: accuracies, paired intervals and p-values, majority class.

    Args:
        folders: ``--output_path`` of two or more runs with ``--log_samples``, the base model's first.
        metric: one that is 0 or 1 for each example, "acc" or "exact_match,strict-match"; the edit's if None, else acc.
        allow_different: fields in which the runs may have been asked differently, such as "num_fewshot".

    Returns:
        From each task to its comparison.

    Raises:
        EditError: a folder holds no samples, the runs saw other examples, or were asked differently.
    """
    from cti_edits.harness.comparison import compare_runs

    return compare_runs([Path(folder) for folder in folders], metric, allow_different)
