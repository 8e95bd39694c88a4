"""Binding an edit to a loaded model, verifying its base, applying it, and putting the former weights back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import MatrixEdit, PluginEdit
from cti_edits.errors import EditError, FitError, about
from cti_edits.linalg.finite import all_finite
from cti_edits.methods.method import methods_of
from cti_edits.models.architectures import check_architecture
from cti_edits.models.checkpoint_location import CheckpointLocation
from cti_edits.models.factor_file import read_factors
from cti_edits.models.loaded_base import LoadedBase
from cti_edits.models.targets import TargetMatrix as TargetMatrix
from cti_edits.models.targets import model_family as model_family
from cti_edits.models.targets import shared_blocks
from cti_edits.models.targets import target_matrices as target_matrices
from cti_edits.models.targets import target_matrix as target_matrix
from cti_edits.models.wrappers import frozen, has_adapter, inner_model, keep_hook, no_values

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger("cti_edits")


@dataclass
class AppliedEdit:
    """An edit in force on a model. `revert` puts the former weights back, bit for bit.

    Attributes:
        edit: what is in force.
        verified: whether the base was found to be the one that the edit was made for.
        factorized: names of the modules that run as factors.
    """

    edit: Edit
    verified: bool
    factorized: tuple[str, ...]
    _model: torch.nn.Module | None
    _weights: list[tuple[TargetMatrix, torch.Tensor]]
    _modules: list[tuple[str, torch.nn.Module]]

    def revert(self) -> None:
        """Restore the weights from before the edit. A second call changes nothing.

        Raises:
            EditError: they were not kept (``apply(revertible=False)``).
        """
        if self._model is None:
            raise EditError(f"{self.edit.name}: cannot be reverted, the former weights were dropped")
        for target, former in self._weights:
            target.put(former)
        for name, module in reversed(self._modules):
            self._model.set_submodule(name, module)
        self._weights, self._modules = [], []


def find_target(matrix_edit: MatrixEdit, model: torch.nn.Module, where: str) -> TargetMatrix:
    """The matrix of ``model`` that ``matrix_edit`` changes, found by role, layer, module name and shape.

    Args:
        matrix_edit: one of an edit.
        model: a transformers model, which may be on the meta device.
        where: the beginning of messages, "NAME: edits[0]".

    Raises:
        FitError: module, layer or shape differ.
    """
    try:
        target = target_matrix(model, matrix_edit.matrix, matrix_edit.layer, matrix_edit.stack, matrix_edit.expert)
    except FitError as error:
        raise FitError(f"{where}.{error}") from None
    if target.module != matrix_edit.module:
        raise FitError(
            f"{where}.module: {matrix_edit.id} is {target.module} in this model, the edit names {matrix_edit.module}"
        )
    parameter = matrix_edit.parameter or "weight"
    if target.parameter_name != parameter:
        raise FitError(
            f"{where}.parameter: {matrix_edit.id} is {target.name} in this model, the edit names {parameter}"
        )
    if target.rows != matrix_edit.rows:
        here, there = (rows or "all rows" for rows in (target.rows, matrix_edit.rows))
        raise FitError(
            f"{where}.rows: {matrix_edit.id} is {here} of {target.name} in this model, the edit is of {there}"
        )
    if tuple(target.weight.shape) != matrix_edit.shape:
        raise FitError(
            f"{where}.shape: the edit is for {list(matrix_edit.shape)} (rows, columns), "
            f"{target.module} of this model has {list(target.weight.shape)}"
        )
    return target


def bind(
    edit: Edit, model: torch.nn.Module, verify: bool = True, **where: Unpack[CheckpointLocation]
) -> list[TargetMatrix]:
    """Find and check every matrix that ``edit`` names, without changing anything.

    Args:
        edit: what to apply.
        model: a transformers model, or a wrapper of one; see `wrappers.inner_model`.
        verify: refuse a matrix that is not the one the edit was made for; see `base_match.base_match`. The tensor in
            memory is compared, and that of the checkpoint where memory alone cannot tell.
        where: those arguments of ``from_pretrained`` with which ``model`` was loaded that say where its weights are:
            ``revision`` (by default the edit's), ``subfolder`` (by default the edit's, if the model is the edit's own
            base), ``variant``, ``gguf_file``, ``cache_dir``, ``use_safetensors``.

    Returns:
        The matrices, in the order of the edit's.

    Raises:
        FitError: architecture, module, layer or shape differ, or a weight is not finite or not loaded (meta device).
        BaseMismatchError: a hash or norm differs, or cannot be compared.
    """
    model = inner_model(model)
    try:
        check_architecture(edit.base_model.architecture, [type(model).__name__], "the model")
    except FitError as error:
        raise FitError(f"{edit.name}: {error}") from None
    if edit.edits:
        try:
            model_family(model)
        except FitError as error:
            raise FitError(f"{edit.name}: base_model.architecture: {error}") from None
    base = LoadedBase(edit, model, where)
    targets = []
    for index, matrix_edit in enumerate(edit.edits):
        place = f"{edit.name}: edits[{index}]"
        target = find_target(matrix_edit, model, place)
        if why := no_values(model.get_submodule(target.module), target.parameter):
            raise FitError(f"{place}.module: the weight of {target.module} {why}")
        if not all_finite(target.weight):
            raise FitError(f"{place}.module: the weight of {target.module} holds NaN or infinite values")
        if verify:
            base.check(matrix_edit, target, place)
        targets.append(target)
    return targets


def apply(
    edit: Edit,
    model: torch.nn.Module,
    verify: bool = True,
    factorize: bool = False,
    revertible: bool = True,
    **where: Unpack[CheckpointLocation],
) -> AppliedEdit:
    """Apply ``edit`` to ``model`` in place. Everything is checked and computed before the first weight changes.

    Args:
        edit: what to apply. With a file of factors (see `packing.pack`) nothing is decomposed.
        model: see `bind`.
        verify: see `bind`.
        factorize: put a layer that runs factors (`factored_linear.FactoredLinear`, or for ``directions``
            `added_low_rank.AddedLowRank`) in the place of each layer where that takes less memory.
        revertible: keep the former weights for `AppliedEdit.revert`, which takes as much memory as the edited
            matrices.
        where: see `bind`.

    Raises:
        FitError: the edit does not fit; the model is as it was. See `bind`.
        BaseMismatchError: the base is another one; the model is as it was.
        FactorsError: the file of factors is not the edit's; the model is as it was.
    """
    methods = methods_of(edit)
    if edit.edits and (why := frozen(model)):
        raise FitError(f"{edit.name}: {why}")
    model = inner_model(model)
    targets = bind(edit, model, verify, **where)
    packed = read_factors(edit)
    if edit.edits and (shared := shared_blocks(model)):
        logger.warning("%s: %s", edit.name, shared)
    unverified = [m.matrix_name for m in edit.edits if m.sha256 is None]
    if unverified:
        logger.warning("%s: has no sha256 for %s: its base was not verified", edit.name, ", ".join(unverified))
    elif not verify and edit.edits:
        logger.warning("%s: applied without verifying its base (verify=false)", edit.name)
    weights: list[tuple[TargetMatrix, torch.Tensor]] = []
    layers: list[tuple[str, torch.nn.Module, torch.nn.Module]] = []
    for index, (target, one, method) in enumerate(zip(targets, edit.edits, methods, strict=True)):
        # Of two parts of one weight, the second one is added to the layer that adds the first.
        module = next((layer for name, _, layer in reversed(layers) if name == target.module), None)
        module, blocks = module or model.get_submodule(target.module), packed.get(one.matrix_name)
        # A plugin's method may know nothing of parts of a weight.
        as_factors = factorize and method.runs_as_factors(one) and not (one.is_part and isinstance(one, PluginEdit))
        if not as_factors:
            with about(f"{edit.name}: edits[{index}]"):
                weights.append((target, method.edited_weight(target.weight, one, blocks)))
            continue
        if has_adapter(module):
            raise FitError(
                f"{edit.name}: edits[{index}].module: {target.module} has an adapter, which needs the matrix itself; "
                "leave factorize out"
            )
        with about(f"{edit.name}: edits[{index}]"):
            layers.append((target.module, module, method.factored_layer(target.weight, one, module, blocks)))
    former = [(target, target.weight.clone()) for target, _ in weights if revertible]
    for target, weight in weights:
        target.put(weight)
    for name, module, layer in layers:
        keep_hook(module, layer)
        model.set_submodule(name, layer)
    return AppliedEdit(
        edit,
        verified=verify and not unverified,
        factorized=tuple(dict.fromkeys(name for name, _, _ in layers)),
        _model=model if revertible else None,
        _weights=former,
        _modules=[(name, module) for name, module, _ in layers if revertible],
    )


@contextlib.contextmanager
def applied(
    edit: Edit,
    model: torch.nn.Module,
    verify: bool = True,
    factorize: bool = False,
    **where: Unpack[CheckpointLocation],
) -> Iterator[AppliedEdit]:
    """Apply an edit inside a ``with`` block; after it the former weights are back, bit for bit.

    Arguments and errors are those of `apply`.
    """
    in_force = apply(edit, model, verify, factorize, **where)
    try:
        yield in_force
    finally:
        in_force.revert()
