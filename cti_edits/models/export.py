"""An ordinary checkpoint folder with an edit applied, for any engine that loads safetensors.

Files are copied and the bytes of the edited matrices are written over in the copies. So everything else is the source's
byte for byte, and memory holds one matrix at a time.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from cti_edits.artifact.manifest import Edit, MatrixEdit
from cti_edits.errors import BaseMismatchError, EditError, FitError, printable
from cti_edits.files import atomic_folder
from cti_edits.linalg.factors import Block
from cti_edits.linalg.finite import all_finite
from cti_edits.methods import method_of
from cti_edits.models.apply import TargetMatrix, find_target
from cti_edits.models.architectures import architecture_fits
from cti_edits.models.base_match import Evidence, base_match, check_tensor_name
from cti_edits.models.checkpoint import StoredTensor, stored_name
from cti_edits.models.checkpoint_files import CheckpointFiles, checkpoint_files
from cti_edits.models.checkpoint_json import json_object
from cti_edits.models.export_readme import export_readme
from cti_edits.models.factor_file import read_factors

logger = logging.getLogger("cti_edits")


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        files: names of its safetensors files.
        edited: names of the tensors that were edited, as they are stored.
        verified: whether every one of them had the manifest's hash.
    """

    folder: Path
    files: tuple[str, ...]
    edited: tuple[str, ...]
    verified: bool


def export(edit: Edit, source: Path, target: Path, verify: bool = True) -> Export:
    """Write the checkpoint in ``source`` to ``target`` with ``edit`` applied.

    Shards, their headers and the index are the source's; tensors that it stores once stay stored once. The weights are
    those that `apply.apply` gives on the model loaded in the edit's dtype, where the stored dtype holds that; else in
    the stored one.

    Args:
        edit: what to apply.
        source: checkpoint folder with config.json and safetensors weights.
        target: a folder that is not there yet, or is empty. It appears when it is complete.
        verify: refuse a tensor whose hash differs from the manifest's.

    Raises:
        EditError: ``source`` is no such checkpoint, or ``target`` has files or cannot be written.
        FitError: the edit does not fit the checkpoint, or a matrix is tied to another one.
        FactorsError: the file of factors is not the edit's.
        BaseMismatchError: a hash differs.
    """
    checkpoint = checkpoint_files(source)
    places = _places(edit, checkpoint)
    packed = read_factors(edit)
    verified = verify and all(one.sha256 is not None for one in edit.edits)
    if edit.edits and not verified:
        logger.warning("%s: its base is not verified", edit.name)
    with atomic_folder(target) as folder:
        for name in [Path(file) for file in checkpoint.files] + checkpoint.companions():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        if checkpoint.index is not None:
            shutil.copyfile(source / checkpoint.index, folder / checkpoint.index)
        rounded = 0
        for index, (one, place) in enumerate(zip(edit.edits, places, strict=True)):
            where = f"{edit.name}: edits[{index}]"
            rounded += _write_edited(edit, one, place, packed.get(one.module), checkpoint, folder, verify, where)
        tensors = tuple(place.tensor for place in places)
        (folder / "README.md").write_text(export_readme(edit, tensors, verified, bool(rounded)), encoding="utf-8")
    return Export(target, checkpoint.files, tensors, verified)


@dataclass(frozen=True)
class _Place:
    """Where a matrix of the model is: the name of its tensor, and the matrix of an empty model."""

    tensor: str
    target: TargetMatrix


def _places(edit: Edit, checkpoint: CheckpointFiles) -> list[_Place]:
    """Find every matrix of ``edit`` by the checkpoint's config alone."""
    method_of(edit)
    model = _empty_model(edit, checkpoint.folder)
    places = []
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
        places.append(_Place(_tensor_name(one, target, checkpoint, where), target))
    return places


def _empty_model(edit: Edit, folder: Path) -> Any:
    """The model of the checkpoint's config on the meta device: its modules and shapes, without weights."""
    import transformers

    wanted = edit.base_model.architecture
    named = json_object(folder / "config.json").get("architectures")
    # Without a name, the config's type and the hashes say enough.
    found = [str(one) for one in named] if isinstance(named, list) else []
    if found and not any(architecture_fits(wanted, one) for one in found):
        raise FitError(
            f"{edit.name}: base_model.architecture: the edit is for {wanted}, {printable(folder)} is a "
            f"{printable(', '.join(found))}"
        )
    model_class = getattr(transformers, wanted, None)
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        if model_class is None or not isinstance(config, model_class.config_class):
            raise FitError(f"{edit.name}: base_model.architecture: transformers has no {wanted} for this checkpoint")
        with torch.device("meta"):
            return model_class(config)
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{printable(folder)}: cannot make the model of its config.json: {_line(error)}") from None


def _tensor_name(one: MatrixEdit, target: TargetMatrix, checkpoint: CheckpointFiles, where: str) -> str:
    """The stored name: the module's, or one with a part more or less in front, where a checkpoint has another head."""
    name = f"{target.module}.weight"
    if (found := stored_name(checkpoint.tensors, name)) is not None:
        try:
            check_tensor_name(one, name, found)
        except FitError as error:
            raise FitError(f"{where}.{error}") from None
        return found
    shorter = name.split(".", 1)[1]
    raise FitError(
        f"{where}.module: {printable(checkpoint.folder)} stores neither {name} nor {shorter}; is it quantized?"
    )


def _write_edited(
    edit: Edit,
    one: MatrixEdit,
    place: _Place,
    packed: Sequence[Block | None] | None,
    checkpoint: CheckpointFiles,
    folder: Path,
    verify: bool,
    where: str,
) -> bool:
    """Write the edited matrix over the former one in the copy; whether the edit's dtype had to be rounded for that."""
    stored = checkpoint.place_of(place.tensor, folder)
    with safe_open(folder / stored.file, framework="pt") as file:
        tensor = file.get_tensor(place.tensor)
    if tensor.shape != place.target.parameter.shape or not tensor.is_floating_point():
        raise FitError(
            f"{where}.shape: expected {place.tensor} as {list(place.target.parameter.shape)} floating-point numbers, "
            f"{printable(checkpoint.folder)} stores {list(tensor.shape)} of {str(tensor.dtype)[6:]}"
        )
    dtype = getattr(torch, edit.base_model.dtype) if edit.base_model.dtype else tensor.dtype
    # Where the stored dtype holds every value of the edit's, the weights are those of the model loaded in the latter.
    exact = torch.promote_types(tensor.dtype, dtype) == tensor.dtype
    weight = place.target.oriented(tensor.to(dtype) if exact else tensor)
    if not all_finite(weight):
        raise FitError(f"{where}.module: {place.tensor} holds NaN or infinite values")
    if verify:
        in_file = StoredTensor(folder / stored.file, place.tensor, stored.dtype, tuple(tensor.shape))
        _check_base(edit, one, in_file, where)
    edited = place.target.oriented(method_of(edit).edited_weight(weight, one, packed)).to(tensor.dtype)
    content = edited.contiguous().reshape(-1).view(torch.uint8).numpy()
    assert content.nbytes == stored.size
    with (folder / stored.file).open("r+b") as stream:
        stream.seek(stored.start)
        stream.write(content.data)
    return not exact


def _check_base(edit: Edit, one: MatrixEdit, stored: StoredTensor, where: str) -> None:
    found = base_match(one, edit.base_model.dtype, Evidence(None, stored, stored.name))
    if found.refuses:
        raise BaseMismatchError(
            f"{where}.{found.field}: {stored.name} is not the tensor that this edit was made for "
            f"({found.why}); --no-verify exports it all the same"
        )


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return printable(said[0], 300) if said else type(error).__name__
