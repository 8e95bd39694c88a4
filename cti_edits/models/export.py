"""Writing an ordinary checkpoint folder with an edit applied, for any engine that loads safetensors.

Files are copied, and the bytes of the edited matrices are overwritten in the copies. So every other byte is the
source's, and memory holds one matrix at a time.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import BaseMismatchError, EditError, FitError, about, printable
from cti_edits.files import atomic_folder
from cti_edits.linalg.factors import Block
from cti_edits.linalg.finite import all_finite
from cti_edits.methods.method import method_of, methods_of
from cti_edits.models.apply import TargetMatrix, find_target
from cti_edits.models.architectures import check_architecture
from cti_edits.models.base_match import Evidence, base_match, check_tensor_name
from cti_edits.models.checkpoint import INDEX, SINGLE, Checkpoint, Config, folder_checkpoint
from cti_edits.models.export_readme import export_readme
from cti_edits.models.factor_file import read_factors
from cti_edits.models.stored_tensor import StoredTensor

logger = logging.getLogger("cti_edits")

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
HUB_FILES = (SINGLE, INDEX, "model-*.safetensors", *COMPANIONS)
"""What is fetched of a model on the hub."""


@dataclass(frozen=True)
class Export:
    """An exported checkpoint.

    Attributes:
        folder: where it is.
        files: names of its safetensors files.
        edited: names of the tensors that were edited, in the checkpoint.
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
    targets = _targets(edit, checkpoint, source)
    packed = read_factors(edit)
    verified = verify and all(one.sha256 is not None for one in edit.edits)
    if edit.edits and not verified:
        logger.warning("%s: its base is not verified", edit.name)
    with atomic_folder(target) as folder:
        index_file = [Path(checkpoint.index.name)] if checkpoint.index else []
        for name in (*map(Path, checkpoint.files), *index_file, *_companions(source)):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        copy = folder_checkpoint(folder)
        rounded, tensors = 0, []
        for index, (one, matrix) in enumerate(zip(edit.edits, targets, strict=True)):
            where = f"{edit.name}: edits[{index}]"
            stored = _stored(one, matrix, copy, source, where)
            rounded += _write_edited(edit, one, matrix, packed.get(one.module), stored, verify, where)
            tensors.append(stored.name)
        (folder / "README.md").write_text(export_readme(edit, tensors, verified, bool(rounded)), encoding="utf-8")
    return Export(target, checkpoint.files, tuple(tensors), verified)


def _companions(folder: Path) -> list[Path]:
    """Paths, relative to ``folder``, of the files beside the weights that belong to the model."""
    found = {path for pattern in COMPANIONS for path in folder.glob(pattern) if path.is_file()}
    left_out = {path for pattern in NOT_COMPANIONS for path in folder.glob(pattern)}
    return sorted(path.relative_to(folder) for path in found - left_out)


def _targets(edit: Edit, checkpoint: Checkpoint, folder: Path) -> list[TargetMatrix]:
    """The matrices of ``edit`` in a model without values (on the meta device), which the checkpoint's config gives."""
    methods_of(edit)
    model = _empty_model(edit, checkpoint.config, folder)
    targets = []
    for index, one in enumerate(edit.edits):
        where = f"{edit.name}: edits[{index}]"
        target = find_target(one, model, where)
        tied = [
            name
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if parameter is target.parameter and name != f"{target.module}.weight"
        ]
        if tied:
            raise FitError(
                f"{where}.module: {target.module}.weight is tied to {tied[0]}, which would be edited with it; "
                "apply the edit with lm_eval --model cti instead"
            )
        _stored(one, target, checkpoint, folder, where)
        targets.append(target)
    return targets


def _empty_model(edit: Edit, found: Config, folder: Path) -> torch.nn.Module:
    """The model of the checkpoint's config on the meta device: its modules and shapes, without values."""
    import transformers

    wanted = edit.base_model.architecture
    try:
        check_architecture(wanted, found.architectures, printable(folder))
    except FitError as error:
        raise FitError(f"{edit.name}: {error}") from None
    model_class = getattr(transformers, wanted, None)
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        if model_class is None or not isinstance(config, model_class.config_class):
            raise FitError(f"{edit.name}: base_model.architecture: transformers has no {wanted} for this checkpoint")
        with torch.device("meta"):
            model: torch.nn.Module = model_class(config)
            return model
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{printable(folder)}: cannot make the model of its config.json: {_line(error)}") from None


def _stored(one: MatrixEdit, target: TargetMatrix, checkpoint: Checkpoint, shown: Path, where: str) -> StoredTensor:
    """The tensor of ``checkpoint`` that ``target`` is; messages name it as in the folder ``shown``."""
    name = f"{target.module}.weight"
    stored = checkpoint.find(name)
    if stored is None:
        shorter = name.split(".", 1)[1]
        raise FitError(f"{where}.module: {printable(shown)} stores neither {name} nor {shorter}; is it quantized?")
    try:
        check_tensor_name(one, name, stored.name)
    except FitError as error:
        raise FitError(f"{where}.{error}") from None
    if stored.shape != tuple(target.parameter.shape) or not stored.is_weight:
        raise FitError(
            f"{where}.shape: expected {stored.name} as {list(target.parameter.shape)} floating-point numbers, "
            f"{printable(shown)} stores {list(stored.shape)} of {printable(stored.dtype)}"
        )
    return stored


def _write_edited(
    edit: Edit,
    one: MatrixEdit,
    target: TargetMatrix,
    packed: Sequence[Block | None] | None,
    stored: StoredTensor,
    verify: bool,
    where: str,
) -> bool:
    """Overwrite ``stored`` with the edited matrix, and return whether that was rounded from the edit's dtype."""
    tensor = stored.tensor()
    dtype = getattr(torch, edit.base_model.dtype) if edit.base_model.dtype else tensor.dtype
    # If the stored dtype holds every value of the edit's, edit the model as it is loaded in the edit's.
    exact = torch.promote_types(tensor.dtype, dtype) == tensor.dtype
    weight = target.oriented(tensor.to(dtype) if exact else tensor)
    if not all_finite(weight):
        raise FitError(f"{where}.module: {stored.name} holds NaN or infinite values")
    found = base_match(one, edit.base_model.dtype, Evidence(None, stored, stored.name)) if verify else None
    if found is not None and found.refuses:
        raise BaseMismatchError(
            f"{where}.{found.field}: {stored.name} is not the tensor that this edit was made for "
            f"({found.why}); verify=false exports it all the same"
        )
    with about(where):
        edited = target.oriented(method_of(one).edited_weight(weight, one, packed)).to(tensor.dtype)
    content = edited.contiguous().reshape(-1).view(torch.uint8).numpy()
    assert content.nbytes == stored.size
    with stored.file.open("r+b") as stream:
        stream.seek(stored.start)
        stream.write(content.data)
    return not exact


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return printable(said[0], 300) if said else type(error).__name__
