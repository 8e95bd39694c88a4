"""Writing an ordinary checkpoint folder with an edit applied, for any engine that loads safetensors.

Files are copied, and the bytes of the edited matrices are overwritten in the copies. So every other byte is the
source's, and memory holds one matrix at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import about
from cti_edits.files import atomic_folder
from cti_edits.linalg.factors import Block
from cti_edits.methods.method import method_of
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.base_matrices import base_weight, find_targets, stored_tensor, verified_base
from cti_edits.models.checkpoint import INDEX, SINGLE, folder_checkpoint
from cti_edits.models.export_readme import export_readme
from cti_edits.models.factor_file import read_factors
from cti_edits.models.stored_names import Stored
from cti_edits.models.stored_tensor import TORCH_NAMES

COMPANIONS = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    "additional_chat_templates/*.jinja",
    "LICENSE*",
    "NOTICE*",
)
"""Files beside the weights that say how they are used: config, tokenizer, generation, licence. No code, no pickle."""

NOT_COMPANIONS = ("*.index.json", "trainer_state.json", "optimizer*")
Format = Literal["checkpoint", "peft"]
"""What an edit is exported as: a checkpoint, or a LoRA adapter (`peft_export`)."""

HUB_FILES = (SINGLE, INDEX, "model-*.safetensors", *COMPANIONS)
"""What is fetched of a model on the hub."""


@dataclass(frozen=True)
class Export:
    """An exported checkpoint or adapter.

    Attributes:
        folder: where it is.
        files: names of its safetensors files.
        edited: names of the tensors, in the base's checkpoint, that were edited or have an adapter.
        verified: whether every one of them was the one that the edit was made for.
    """

    folder: Path
    files: tuple[str, ...]
    edited: tuple[str, ...]
    verified: bool


def export(edit: Edit, source: Path, target: Path, verify: bool = True) -> Export:
    """Write the checkpoint in ``source`` to ``target`` with ``edit`` applied.

    Shards, their headers and the index are the source's, so that shared tensors stay shared. The edited weights are
    those that `apply.apply` gives on the model loaded in the edit's dtype if the stored dtype holds all of its values,
    and else on the model loaded in the stored dtype.

    Args:
        edit: what to apply.
        source: checkpoint folder with config.json and safetensors weights.
        target: a folder that is not there yet, or is empty. It appears when it is complete.
        verify: refuse a tensor that is not the one that the edit was made for; see `base_match.base_match`.

    Raises:
        CheckpointError: ``source`` is no such checkpoint.
        EditError: ``target`` has files or cannot be written, or the edit's method is not known.
        FitError: the edit does not fit the checkpoint, or a matrix is tied to another one.
        FactorsError: the file of factors is not the edit's.
        BaseMismatchError: a hash differs.
    """
    checkpoint = folder_checkpoint(source)
    checkpoint.tensors()  # refuses an index that is wrong, before anything is copied
    targets = find_targets(edit, checkpoint, source)
    packed = read_factors(edit)
    verified = verified_base(edit, verify)
    with atomic_folder(target) as folder:
        index_file = [Path(checkpoint.index.name)] if checkpoint.index else []
        for name in (*map(Path, checkpoint.files), *index_file, *_companions(source)):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        copy = folder_checkpoint(folder)
        rounded, tensors = 0, []
        for index, (one, matrix) in enumerate(zip(edit.edits, targets, strict=True)):
            where = f"{edit.name}: edits[{index}]"
            stored = stored_tensor(one, matrix, copy, source, where)
            rounded += _write_edited(edit, one, matrix, packed.get(one.matrix_name), stored, verify, where)
            tensors.append(stored.name)
        (folder / "README.md").write_text(export_readme(edit, tensors, verified, bool(rounded)), encoding="utf-8")
    return Export(target, checkpoint.files, tuple(tensors), verified)


def _companions(folder: Path) -> list[Path]:
    """Paths, relative to ``folder``, of the files beside the weights that belong to the model."""
    found = {path for pattern in COMPANIONS for path in folder.glob(pattern) if path.is_file()}
    left_out = {path for pattern in NOT_COMPANIONS for path in folder.glob(pattern)}
    return sorted(path.relative_to(folder) for path in found - left_out)


def _write_edited(
    edit: Edit,
    one: MatrixEdit,
    target: TargetMatrix,
    packed: Sequence[Block | None] | None,
    stored: Stored,
    verify: bool,
    where: str,
) -> bool:
    """Overwrite ``stored`` with the edited matrix, and return whether that was rounded from the edit's dtype."""
    weight = base_weight(edit, one, target, stored, verify, where)
    with about(where):
        edited = target.matrix_of(method_of(one).edited_weight(weight, one, packed))
    edited = edited.to(getattr(torch, TORCH_NAMES[stored.dtype]))
    stored.write(edited)
    # `base_weight` is in another dtype than the edit's where the stored one does not hold all values of that.
    return edit.base_model.dtype not in (None, str(weight.dtype).removeprefix("torch."))
