"""The matrices that an edit changes, in a checkpoint folder: found and verified without loading the model."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit
from cti_edits.errors import BaseMismatchError, EditError, FitError, printable
from cti_edits.linalg.finite import all_finite
from cti_edits.methods.method import methods_of
from cti_edits.models.apply import TargetMatrix, find_target
from cti_edits.models.base_match import Evidence, base_match, check_tensor_name
from cti_edits.models.checkpoint import Checkpoint
from cti_edits.models.config_model import model_of_config
from cti_edits.models.quantization import quantized_checkpoint
from cti_edits.models.stored_names import Stored, find_stored

logger = logging.getLogger("cti_edits")


def find_targets(edit: Edit, checkpoint: Checkpoint, folder: Path) -> list[TargetMatrix]:
    """The matrices of ``edit`` in a model without values (on the meta device), which the checkpoint's config gives.

    Args:
        edit: what is to be applied.
        checkpoint: the base.
        folder: where it is.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        EditError: the edit's method is not known, or its config gives no model.
        FitError: the edit does not fit the checkpoint, or a matrix is tied to another one.
    """
    methods_of(edit)
    try:
        model = model_of_config(edit.base_model.architecture, checkpoint)
    except EditError as error:
        raise type(error)(f"{edit.name}: {error}") from None
    targets = []
    for index, one in enumerate(edit.edits):
        where = f"{edit.name}: edits[{index}]"
        target = find_target(one, model, where)
        tied = [
            name
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if parameter is target.parameter and name != target.name
        ]
        if tied:
            raise FitError(
                f"{where}.module: {target.name} is tied to {tied[0]}, which would be edited with it; "
                "apply the edit with lm_eval --model cti instead"
            )
        stored_tensor(one, target, checkpoint, folder, where)
        targets.append(target)
    return targets


def stored_tensor(one: MatrixEdit, target: TargetMatrix, checkpoint: Checkpoint, shown: Path, where: str) -> Stored:
    """The tensor of ``checkpoint`` that ``target`` is, or the part of one; messages name it as in the folder ``shown``.

    Raises:
        FitError: there is none, or it is not of the matrix's shape, or quantized.
    """
    name = target.name
    try:
        stored = find_stored(checkpoint, target)
    except FitError as error:
        raise FitError(f"{where}.{error}") from None
    if stored is None:
        shorter = name.split(".", 1)[1]
        quantized = quantized_checkpoint(checkpoint.config.quant_method) or "is it quantized?"
        raise FitError(f"{where}.module: {printable(shown)} stores neither {name} nor {shorter}; {quantized}")
    try:
        check_tensor_name(one, name, stored.name)
    except FitError as error:
        raise FitError(f"{where}.{error}") from None
    if not stored.is_weight and (why := quantized_checkpoint(checkpoint.config.quant_method)):
        raise FitError(f"{where}.module: {printable(shown)} stores {stored.name} as {printable(stored.dtype)}; {why}")
    if stored.shape != tuple(target.hashed.shape) or not stored.is_weight:
        raise FitError(
            f"{where}.shape: expected {stored.name} as {list(target.hashed.shape)} floating-point numbers, "
            f"{printable(shown)} stores {list(stored.shape)} of {printable(stored.dtype)}"
        )
    return stored


def verified_base(edit: Edit, verify: bool) -> bool:
    """Whether `base_weight` refuses every matrix that is not the edit's; warns where it does not."""
    verified = verify and all(one.sha256 is not None for one in edit.edits)
    if edit.edits and not verified:
        logger.warning("%s: its base is not verified", edit.name)
    return verified


def base_weight(
    edit: Edit, one: MatrixEdit, target: TargetMatrix, stored: Stored, verify: bool, where: str
) -> torch.Tensor:
    """W (m, n), in the edit's dtype if the stored dtype holds all of its values, and else in the stored dtype.

    Args:
        edit: what is to be applied.
        one: its edit of this matrix.
        target: the matrix in the model.
        stored: the tensor that it is.
        verify: refuse a tensor that is not the one that the edit was made for.
        where: the beginning of messages, "NAME: edits[0]".

    Raises:
        FitError: a value is not finite.
        BaseMismatchError: it is another tensor; see `base_match.base_match`.
    """
    tensor = stored.tensor()
    dtype = getattr(torch, edit.base_model.dtype) if edit.base_model.dtype else tensor.dtype
    holds_all = torch.promote_types(tensor.dtype, dtype) == tensor.dtype
    weight = target.matrix_of(tensor.to(dtype) if holds_all else tensor)
    if not all_finite(weight):
        raise FitError(f"{where}.module: {stored.name} holds NaN or infinite values")
    found = base_match(one, edit.base_model.dtype, Evidence(None, stored, stored.name)) if verify else None
    if found is not None and found.refuses:
        raise BaseMismatchError(
            f"{where}.{found.field}: {stored.name} is not the tensor that this edit was made for "
            f"({found.why}); verify=false exports it all the same"
        )
    return weight
