"""Bind an edit to a loaded model, verify the base, apply, revert."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from cti_edits.architectures import Family, family_of
from cti_edits.errors import BaseMismatchError, EditError, FitError
from cti_edits.lowrank import truncate
from cti_edits.manifest import Edit, MatrixEdit

logger = logging.getLogger("cti_edits")

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
"""Names of dtypes as safetensors writes them."""


@dataclass(frozen=True)
class TargetMatrix:
    """A weight matrix of a loaded model.

    Attributes:
        matrix: its role, "U_in".
        layer: index of its block.
        module: dotted name of the module.
        parameter: the parameter as it is stored.
        transposed: whether it is stored with rows = input features (GPT-2's Conv1D).
    """

    matrix: str
    layer: int
    module: str
    parameter: torch.nn.Parameter
    transposed: bool

    @property
    def weight(self) -> torch.Tensor:
        """The matrix as (m, n), rows = output features; a view of ``parameter`` without its gradient history."""
        return self.oriented(self.parameter.detach())

    def oriented(self, stored: torch.Tensor) -> torch.Tensor:
        """A tensor that lies as ``parameter`` does, such as its gradient, with rows = output features; a view."""
        return stored.T if self.transposed else stored


def model_family(model: torch.nn.Module) -> Family:
    """The architecture family of a transformers model.

    Raises:
        FitError: the model has no config, or its family is unknown.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if not isinstance(model_type, str):
        raise FitError("expected a transformers model, got one without config.model_type")
    return family_of(model_type)


def target_matrix(model: torch.nn.Module, matrix: str, layer: int) -> TargetMatrix:
    """Find ``matrix`` of block ``layer`` in ``model``, oriented with rows = output features.

    Raises:
        FitError: the family has no such matrix, the model no such layer, or the module holds no plain matrix.
    """
    family = model_family(model)
    name = family.module_name(matrix, layer)
    modules = dict(model.named_modules())
    if name not in modules:
        count = family.layer_count(modules)
        if layer >= count > 0:
            raise FitError(f"layer: expected 0 to {count - 1} (the model has {count} layers), got {layer}")
        raise FitError(f"module: the model has no {name}, where the {family.name} family keeps {matrix}")
    module = modules[name]
    parameter = getattr(module, "weight", None)
    if not isinstance(parameter, torch.nn.Parameter) or parameter.ndim != 2 or not parameter.is_floating_point():
        raise FitError(f"module: expected {name} to hold a floating-point matrix, got {type(module).__name__}")
    # GPT-2's Conv1D keeps (inputs, outputs). The data file says so; the class must agree, since a square weight
    # would not show the mistake.
    if (type(module).__name__ == "Conv1D") != (family.weight_rows == "inputs"):
        raise FitError(
            f"module: the {family.name} architecture file says that weight rows are {family.weight_rows}, "
            f"but {name} is a {type(module).__name__}"
        )
    return TargetMatrix(matrix, layer, name, parameter, transposed=family.weight_rows == "inputs")


def target_matrices(model: torch.nn.Module, matrices: tuple[str, ...]) -> list[TargetMatrix]:
    """Every one of ``matrices`` in every layer of ``model``, layer by layer.

    Raises:
        FitError: see `target_matrix`.
    """
    layers = model_family(model).layer_count(dict(model.named_modules()))
    return [target_matrix(model, matrix, layer) for layer in range(layers) for matrix in matrices]


def tensor_sha256(parameter: torch.Tensor, dtype: torch.dtype | None = None) -> str:
    """Hash of a tensor as it is stored: sha256 of "F32 [2, 3]", a line feed, and its bytes in memory order.

    Args:
        parameter: the tensor in its stored orientation.
        dtype: hash the values as this dtype; the tensor's own if None.
    """
    tensor = parameter.detach().to(device="cpu", dtype=dtype or parameter.dtype).contiguous()
    head = f"{DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))} {list(tensor.shape)}\n"
    digest = hashlib.sha256(head.encode())
    if tensor.numel():
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass
class AppliedEdit:
    """An edit in force on a model. `revert` puts the former weights back, bit for bit."""

    edit: Edit
    verified: bool
    _former: list[tuple[torch.nn.Parameter, torch.Tensor]]

    def revert(self) -> None:
        """Restore the weights from before the edit. A second call changes nothing."""
        with torch.no_grad():
            for parameter, former in self._former:
                parameter.copy_(former)
        self._former = []


def bind(edit: Edit, model: torch.nn.Module, verify: bool = True) -> list[TargetMatrix]:
    """Find and check every matrix that ``edit`` names, without changing anything.

    Args:
        edit: what to apply.
        model: a transformers model.
        verify: refuse a matrix whose hash differs from the manifest's.

    Raises:
        FitError: architecture, module, layer or shape differ, or a weight is not finite or not loaded (meta device).
        BaseMismatchError: a hash differs, or cannot be compared.
    """
    architecture = type(model).__name__
    if architecture != edit.base_model.architecture:
        raise FitError(
            f"{edit.name}: base_model.architecture: the edit is for {edit.base_model.architecture}, "
            f"the model is a {architecture}"
        )
    if edit.edits:
        try:
            model_family(model)
        except FitError as error:
            raise FitError(f"{edit.name}: base_model.architecture: {error}") from None
    targets = []
    for index, matrix_edit in enumerate(edit.edits):
        where = f"{edit.name}: edits[{index}]"
        if matrix_edit.factors is not None:
            raise FitError(f"{where}.factors: this version of cti-edits does not read factor files; upgrade cti-edits")
        try:
            target = target_matrix(model, matrix_edit.matrix, matrix_edit.layer)
        except FitError as error:
            raise FitError(f"{where}.{error}") from None
        if target.module != matrix_edit.module:
            raise FitError(
                f"{where}.module: {matrix_edit.matrix} of layer {matrix_edit.layer} is {target.module} in this model, "
                f"the edit names {matrix_edit.module}"
            )
        if tuple(target.weight.shape) != matrix_edit.shape:
            raise FitError(
                f"{where}.shape: the edit is for {list(matrix_edit.shape)} (rows, columns), "
                f"{target.module} of this model has {list(target.weight.shape)}"
            )
        if target.parameter.is_meta:
            raise FitError(
                f"{where}.module: the weight of {target.module} is on the meta device and holds no values; "
                "load the model with its weights"
            )
        if verify and matrix_edit.sha256 is not None:
            _check_hash(edit, matrix_edit, target, where)
        if not bool(torch.isfinite(target.weight).all()):
            raise FitError(f"{where}.module: the weight of {target.module} holds NaN or infinite values")
        targets.append(target)
    return targets


def _check_hash(edit: Edit, matrix_edit: MatrixEdit, target: TargetMatrix, where: str) -> None:
    """A base loaded in a wider dtype than the edit was made in still verifies; one in a narrower dtype cannot."""
    dtype = getattr(torch, edit.base_model.dtype) if edit.base_model.dtype else target.parameter.dtype
    found = tensor_sha256(target.parameter, dtype)
    # A wider tensor has to hold the narrower one's very values, or another base could pass by rounding to it.
    same = target.parameter.dtype == dtype or bool(
        torch.equal(target.parameter.detach().to(dtype).to(target.parameter.dtype), target.parameter.detach())
    )
    if found == matrix_edit.sha256 and same:
        return
    hint = ""
    if target.parameter.dtype != dtype:
        hint = (
            f"; it is loaded as {str(target.parameter.dtype)[6:]}, the edit was made for dtype={edit.base_model.dtype}"
            + ("" if same else ", which does not hold all of its values")
        )
    raise BaseMismatchError(
        f"{where}.sha256: {target.module}.weight is not the tensor that this edit was made for "
        f"(expected {matrix_edit.sha256}, found {found}{hint}); verify=false applies it all the same"
    )


def apply(edit: Edit, model: torch.nn.Module, verify: bool = True) -> AppliedEdit:
    """Apply ``edit`` to ``model`` in place. Everything is checked and computed before the first weight changes.

    Raises:
        FitError: the edit does not fit; the model is as it was. See `bind`.
        BaseMismatchError: the base is another one; the model is as it was.
    """
    if edit.method != "block-svd":
        raise EditError(f"{edit.name}: method: {edit.method!r} is not known here")
    targets = bind(edit, model, verify)
    unverified = [m.module for m in edit.edits if m.sha256 is None]
    if unverified:
        logger.warning("%s: has no sha256 for %s: its base was not verified", edit.name, ", ".join(unverified))
    elif not verify and edit.edits:
        logger.warning("%s: applied without verifying its base (verify=false)", edit.name)
    edited = [
        truncate(t.weight, m.block_ranks, partition=m.partition) for t, m in zip(targets, edit.edits, strict=True)
    ]
    former = [(target.parameter, target.parameter.detach().clone()) for target in targets]
    with torch.no_grad():
        for target, weight in zip(targets, edited, strict=True):
            target.weight.copy_(weight)
    return AppliedEdit(edit, verified=verify and not unverified, _former=former)


@contextlib.contextmanager
def applied(edit: Edit, model: torch.nn.Module, verify: bool = True) -> Iterator[AppliedEdit]:
    """Keep an edit in force inside a ``with`` block; the former bits are back after it.

    Raises:
        FitError: see `apply`.
    """
    in_force = apply(edit, model, verify)
    try:
        yield in_force
    finally:
        in_force.revert()
