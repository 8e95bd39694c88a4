"""The weight matrices of a loaded model: found by role, layer and expert; read and written, whole or as a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from cti_edits.artifact.matrix_id import MatrixId, StackName
from cti_edits.artifact.rows import Rows
from cti_edits.errors import FitError
from cti_edits.linalg.fused_rows import put_rows, rows_of
from cti_edits.models.architectures import Family, MatrixPlace, family_of
from cti_edits.models.architectures.family import count_of
from cti_edits.models.quantization import is_plain, quantized_layer
from cti_edits.models.wrappers import inner_layer, inner_model


@dataclass(frozen=True)
class TargetMatrix:
    """A weight matrix of a loaded model: a parameter, or a part of one.

    Attributes:
        matrix: its role, "U_in".
        layer: index of its block.
        module: dotted name of the module.
        parameter: the parameter as it is stored.
        transposed: whether it, or each expert's part of it, is stored with rows = input features (GPT-2's Conv1D).
        stack: which list of blocks, in models that have several.
        parameter_name: of the parameter in its module.
        expert: which expert's part of the parameter; None if it is no experts'.
        experts: how many have a part of it.
        rows: which output features, where several matrices are fused; None for all.
        model: the model that it is of.
    """

    matrix: str
    layer: int
    module: str
    parameter: torch.nn.Parameter
    transposed: bool
    stack: StackName | None = None
    parameter_name: str = "weight"
    expert: int | None = None
    experts: int = 1
    rows: Rows | None = None
    model: torch.nn.Module | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> MatrixId:
        """Which matrix of the model it is."""
        return MatrixId(self.layer, self.matrix, self.stack, self.expert)

    def place(self) -> dict[str, Any]:
        """The fields of a `MatrixEdit` that say which matrix it is of, but for its shape."""
        parameter = None if self.parameter_name == "weight" else self.parameter_name
        of_part = {"stack": self.stack, "parameter": parameter, "expert": self.expert, "rows": self.rows}
        return {"matrix": self.matrix, "layer": self.layer, "module": self.module, **of_part}

    @property
    def name(self) -> str:
        """Dotted name of the parameter."""
        return f"{self.module}.{self.parameter_name}"

    @property
    def is_weight(self) -> bool:
        """Whether it is the weight of a layer, or rows of it: what the layer gives is W x."""
        return self.parameter_name == "weight" and self.expert is None

    @property
    def is_part(self) -> bool:
        """Whether it is something else than the whole weight of a layer."""
        return self.rows is not None or not self.is_weight

    @property
    def weight(self) -> torch.Tensor:
        """The matrix as (m, n), rows = output features, without its gradient history.

        A view of ``parameter``, but a copy where the rows are in several runs; it is written by `put`.
        """
        return self.oriented(self.parameter.detach())

    @property
    def hashed(self) -> torch.Tensor:
        """What the edit's hash is over: the parameter as it is stored; of a part, the matrix as (m, n)."""
        return self.weight if self.is_part else self.parameter

    def oriented(self, stored: torch.Tensor) -> torch.Tensor:
        """The matrix (m, n) in ``stored``, which has the axes of ``parameter`` (its gradient, say); as `weight`."""
        return rows_of(self._all_rows(stored), self.rows)

    @property
    def outputs(self) -> int:
        """How many output features the parameter has, or the expert's part of it; m and those of the other parts."""
        return self._all_rows(self.parameter.detach()).shape[0]

    def matrix_of(self, hashed: torch.Tensor) -> torch.Tensor:
        """(m, n) of a tensor that is laid out as `hashed`; and the other way round."""
        return hashed.mT if self.transposed and not self.is_part else hashed

    def put(self, values: torch.Tensor) -> None:
        """Write the matrix (m, n). Everything else of the parameter keeps its bits."""
        with torch.no_grad():
            put_rows(self._all_rows(self.parameter.detach()), self.rows, values)

    def _all_rows(self, stored: torch.Tensor) -> torch.Tensor:
        """All output features of the parameter, or of the expert's part of it, as a view with them as rows."""
        if self.expert is not None:
            stored = (stored if stored.ndim == 3 else stored.view(self.experts, -1, stored.shape[1]))[self.expert]
        return stored.mT if self.transposed else stored


def model_family(model: torch.nn.Module) -> Family:
    """The architecture family of a transformers model, or of the one inside a wrapper; see `wrappers.inner_model`.

    Raises:
        FitError: the model has no config, or its family is unknown.
    """
    model_type = getattr(getattr(inner_model(model), "config", None), "model_type", None)
    if not isinstance(model_type, str):
        raise FitError("expected a transformers model, got one without config.model_type")
    return family_of(model_type)


def target_matrix(
    model: torch.nn.Module, matrix: str, layer: int, stack: StackName | None = None, expert: int | None = None
) -> TargetMatrix:
    """Find ``matrix`` of block ``layer`` in ``model``, oriented with rows = output features.

    Args:
        model: a transformers model, or a wrapper of one; see `wrappers.inner_model`.
        matrix: its role, "U_in".
        layer: index of the block.
        stack: which list of blocks, in a model that has several.
        expert: which expert's, where the block has such a matrix for each.

    Raises:
        FitError: the family has no such matrix, the model no such layer, the layer no such matrix or expert, or the
            module holds no plain matrix.
    """
    blocks = _Blocks(model, stack)
    place = blocks.place(matrix, layer)
    if place is None:
        raise blocks.missing(matrix, layer)
    target = blocks.target(place, matrix, layer, expert)
    if (target.expert is None) != (expert is None) or not 0 <= (expert or 0) < target.experts:
        where = MatrixId(layer, matrix, stack)
        if target.expert is None:
            raise FitError(f"expert: {where} is no expert's, got {expert}")
        raise FitError(f"expert: expected 0 to {target.experts - 1}, one of the experts of {where}, got {expert}")
    return target


def target_matrices(model: torch.nn.Module, matrices: tuple[str, ...]) -> list[TargetMatrix]:
    """Those of the roles ``matrices`` ("U_in") that ``model`` has, stack by stack and layer by layer, of every expert.

    A layer that has no such matrix, as the state-space layers of a hybrid, is left out.

    Raises:
        FitError: no layer has a matrix of one of the roles; or see `target_matrix`.
    """
    found: list[TargetMatrix] = []
    family = model_family(model)
    for matrix in matrices:
        family.check_role(matrix)
    stacks = [_Blocks(model, stack) for stack in family.stack_names]
    for blocks in stacks:
        roles = [matrix for matrix in matrices if blocks.may_have(matrix)]
        for layer in range(blocks.count):
            for matrix in roles:
                found.extend(blocks.targets(matrix, layer))
    there = {target.matrix for target in found}
    for matrix in matrices:
        if matrix not in there and any(blocks.count for blocks in stacks):
            raise stacks[-1].missing(matrix, None)
    return found


def every_target(model: torch.nn.Module, family: Family) -> list[TargetMatrix]:
    """Every matrix that ``model`` has where an architecture file says, of the first expert where there are several.

    Args:
        model: see `target_matrix`.
        family: the file's, which need not be one that is known.

    Raises:
        FitError: see `target_matrix`.
    """
    found: list[TargetMatrix] = []
    for name in family.stack_names:
        blocks = _Blocks(model, name, family)
        for matrix in family.stack(name).matrices:
            places = ((layer, blocks.place(matrix, layer)) for layer in range(blocks.count))
            found += [blocks.target(place, matrix, layer, 0) for layer, place in places if place is not None]
    return found


def shared_blocks(model: torch.nn.Module) -> str | None:
    """That one block of ``model`` stands for several, as ALBERT's does, so that an edit of it edits all; else None."""
    family = model_family(model)
    inside = inner_model(model)
    blocks = family.layer_count(dict(inside.named_modules()), family.main_stack)
    layers = getattr(getattr(inside, "config", None), "num_hidden_layers", None)
    if not isinstance(layers, int) or not 0 < blocks < layers or family.main_stack is not None:
        return None
    return f"{blocks} block{'s stand' if blocks > 1 else ' stands'} for all {layers} layers: an edit of it edits all"


class _Blocks:
    """The blocks of one stack of a model."""

    def __init__(self, model: torch.nn.Module, stack: str | None, family: Family | None = None) -> None:
        self._model = inner_model(model)
        self._family = family or model_family(self._model)
        self._stack = stack
        self._layers = self._family.stack(stack).layers
        self._modules: Mapping[str, torch.nn.Module] = dict(self._model.named_modules())
        self._config: object = getattr(self._model, "config", None)
        self.count = self._family.layer_count(self._modules, stack)

    def may_have(self, matrix: str) -> bool:
        """Whether the family has such a role in this stack."""
        return matrix in self._family.stack(self._stack).matrices

    def place(self, matrix: str, layer: int) -> MatrixPlace | None:
        """Where block ``layer`` has ``matrix``; None if it has none.

        Raises:
            FitError: the family has no such matrix, or the layer is negative.
        """
        places = self._family.places(matrix, self._stack)
        names = self._family.module_names(matrix, layer, self._stack)
        for place, name in zip(places, names, strict=True):
            if name in self._modules and place.fits(self._config):
                return place
        return None

    def targets(self, matrix: str, layer: int) -> Iterator[TargetMatrix]:
        """``matrix`` of block ``layer``, of every expert; nothing where the block has none."""
        place = self.place(matrix, layer)
        if place is None:
            return
        first = self.target(place, matrix, layer, 0)
        yield first
        for expert in range(1, first.experts):
            yield self.target(place, matrix, layer, expert)

    def target(self, place: MatrixPlace, matrix: str, layer: int, expert: int | None) -> TargetMatrix:
        """The matrix at ``place`` of block ``layer``; of the first expert if ``expert`` is none of its experts."""
        name = f"{self._layers}.{layer}.{place.module}"
        module = inner_layer(self._modules[name], name)
        parameter = getattr(module, place.parameter, None)
        axes = 3 if place.experts is True else 2
        if why := quantized_layer(module, name, parameter, self._config):
            raise FitError(f"module: {why}")
        if not isinstance(parameter, torch.nn.Parameter) or parameter.ndim != axes or not is_plain(parameter):
            what = "a floating-point matrix" if axes == 2 else "a floating-point tensor of three axes"
            where = name if place.parameter == "weight" else f"{name}.{place.parameter}"
            raise FitError(f"module: expected {where} to hold {what}, got {type(module).__name__}")
        transposed = place.weight_rows == "inputs"
        # GPT-2's Conv1D keeps (inputs, outputs). The data file says so; the class must agree, since a square weight
        # would not show the mistake.
        is_layer = place.parameter == "weight" and place.experts is None
        if is_layer and (type(module).__name__ == "Conv1D") != transposed:
            raise FitError(
                f"module: the {self._family.name} architecture file says that weight rows are {place.weight_rows}, "
                f"but {name} is a {type(module).__name__}"
            )
        experts = 1
        if place.experts is not None:
            experts = len(parameter) if place.experts is True else count_of(self._config, place.experts)
            if len(parameter) % experts:
                raise FitError(
                    f"experts: {name}.{place.parameter} has {len(parameter)} rows, not {experts} equal parts"
                )
            expert = 0 if expert is None or not 0 <= expert < experts else expert
        outputs = parameter.shape[-1] if transposed else parameter.shape[-2] // (experts if axes == 2 else 1)
        return TargetMatrix(
            matrix,
            layer,
            name,
            parameter,
            transposed,
            stack=self._stack,  # type: ignore[arg-type]
            parameter_name=place.parameter,
            expert=None if place.experts is None else expert,
            experts=experts,
            rows=None if place.rows is None else place.rows.rows(self._config, outputs),
            model=self._model,
        )

    def missing(self, matrix: str, layer: int | None) -> FitError:
        """Why there is no such matrix in a layer, or in any."""
        roles = self._family.stack(self._stack).matrices
        if layer is not None and layer >= self.count > 0:
            return FitError(f"layer: expected 0 to {self.count - 1} (the model has {self.count} layers), got {layer}")
        layers = range(self.count)
        if layer is not None:
            having = [one for one in layers if self.place(matrix, one)]
            layers = range(layer, layer + 1)
            if not having:
                name = self._family.module_name(matrix, layer, self._stack)
                return FitError(f"module: the model has no {name}, where the {self._family.name} family keeps {matrix}")
        has = [role for role in roles if any(self.place(role, one) for one in layers)]
        said = f"it has {', '.join(has)}" if has else "it has none of the family's"
        if layer is None:
            return FitError(f"matrix: no layer of the model has {matrix} ({said})")
        return FitError(f"matrix: layer {layer} has no {matrix} ({said}; layers with one: {_ranges(having)})")


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers, "0, 2 to 4"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
