"""What flows into what: one pass of a model without values, in which each tensor knows which matrices it is made of."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cti_edits.models.detection.columns import Columns, columns_of


class Way(enum.Flag):
    """What happened to the output of a matrix on its way into another one."""

    PLAIN = 0
    ACTIVATED = enum.auto()
    """It went through a nonlinear function."""
    MIXED = enum.auto()
    """Positions of the sequence were mixed, so that this is no part of an MLP."""
    QUERY = enum.auto()
    KEY = enum.auto()
    VALUE = enum.auto()
    SOFTMAX = enum.auto()
    WEIGHT = enum.auto()
    """It is no output but the matrix itself: a parameter of experts, which no module of its own multiplies by."""


class Source(NamedTuple):
    """A matrix, and which numbers of its output; None stands for all."""

    matrix: str
    columns: Columns | None = None


Ways = frozenset[tuple[Source, Way]]
"""What a tensor is made of, each with what happened to it."""

ACTIVATIONS = frozenset(
    {
        "celu", "elu", "erf", "exp", "expm1", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh",
        "leaky_relu", "log_sigmoid_forward", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "tanh",
        "threshold",
    }
)  # fmt: skip
"""Nonlinear functions of each number, as aten names them. Normalizations are none: they scale."""
SOFTMAXES = frozenset({"_softmax", "_safe_softmax"})
MIXERS = frozenset({"convolution", "cumsum", "cumprod", "logcumsumexp", "_fft_r2c", "_fft_c2c", "_fft_c2r", "flip"})
PRODUCTS = {"bmm": (0, 1), "mm": (0, 1), "_grouped_mm": (0, 1), "baddbmm": (1, 2), "addmm": (1, 2)}
"""Matrix products, and which of their arguments are multiplied."""
ATTENTION = "_scaled_dot_product"
"""How the names of fused attentions begin; their first arguments are query, key and value."""


@dataclass
class Flow:
    """What one pass of a model showed.

    Attributes:
        into: from the name of a matrix to what its input is made of.
        features: from the name of a matrix to the sizes of its input and of its output.
        calls: from the name of a module that is a member of a list to the shapes of its first input and its output.
        weight_rows: what the rows of a matrix are, "outputs" (nn.Linear) or "inputs" (GPT-2's Conv1D).
        experts: from the name of a parameter that holds a matrix for each expert to how many these are.
    """

    into: dict[str, Ways] = field(default_factory=dict)
    features: dict[str, tuple[int, int]] = field(default_factory=dict)
    calls: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    weight_rows: dict[str, Literal["outputs", "inputs"]] = field(default_factory=dict)
    experts: dict[str, int] = field(default_factory=dict)


def is_matrix(module: torch.nn.Module) -> bool:
    """Whether a module multiplies by a matrix of its own: nn.Linear, GPT-2's Conv1D and their likes."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 2 and not isinstance(module, torch.nn.Embedding)


def _expert_parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters that hold a matrix for each of several experts, with their names."""
    for module_name, module in model.named_modules():
        if not isinstance(module, torch.nn.modules.conv._ConvNd):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3:
                    yield f"{module_name}.{name}".removeprefix("."), parameter


def trace(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor | bool]) -> Flow:
    """Run ``model``, which is on the meta device, once and follow what flows into what.

    Args:
        model: a model without values.
        inputs: of its forward.

    Raises:
        Exception: whatever the model raises where it needs values.
    """
    flow = Flow()
    made_of = _MadeOf(flow)
    for name, parameter in _expert_parameters(model):
        flow.experts[name] = parameter.shape[0]
        made_of.set(parameter, frozenset({(Source(name), Way.WEIGHT)}))
    handles = list(_hooks(model, flow, made_of))
    try:
        with torch.no_grad(), torch.device("meta"), made_of:
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return flow


def _hooks(model: torch.nn.Module, flow: Flow, made_of: _MadeOf) -> Iterator[torch.utils.hooks.RemovableHandle]:
    for name, module in model.named_modules():
        parent, _, last = name.rpartition(".")
        if is_matrix(module):
            yield module.register_forward_hook(_matrix_hook(name, flow, made_of), with_kwargs=True)
        if last.isdigit() and isinstance(model.get_submodule(parent), (torch.nn.ModuleList, torch.nn.Sequential)):
            yield module.register_forward_hook(_member_hook(name, flow), with_kwargs=True)


Hook = Callable[[torch.nn.Module, tuple[object, ...], dict[str, object], object], None]


def _matrix_hook(name: str, flow: Flow, made_of: _MadeOf) -> Hook:
    def hook(module: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
        (given, *_rest), outputs = _tensors((args, kwargs)), _tensors(output)
        flow.into[name] = flow.into.get(name, frozenset()) | made_of.ways(given)
        flow.features[name] = (given.shape[-1], outputs[0].shape[-1])
        flow.weight_rows[name] = "inputs" if type(module).__name__ == "Conv1D" else "outputs"
        for made in outputs:
            made_of.set(made, frozenset({(Source(name), Way.PLAIN)}), name if made is outputs[0] else None)

    return hook


def _member_hook(name: str, flow: Flow) -> Hook:
    def hook(_: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
        given, made = _tensors((args, kwargs)), _tensors(output)
        if given and made:
            flow.calls[name] = (tuple(given[0].shape), tuple(made[0].shape))

    return hook


def _tensors(found: object) -> list[torch.Tensor]:
    return [one for one in tree_leaves(found) if isinstance(one, torch.Tensor)]


class _MadeOf(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, every storage knows what it is made of; operations that need values get some."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._flow = flow
        self._ways: dict[int, Ways] = {}
        # Of storages whose rows are what one matrix gives: that matrix, and how many numbers a row has.
        self._rows: dict[int, tuple[str, int]] = {}
        # A storage that is kept has a number of its own. It is on the meta device and takes no memory.
        self._kept: list[torch.UntypedStorage] = []

    def ways(self, tensor: torch.Tensor) -> Ways:
        """What a tensor is made of, maybe a view of a part of what a matrix gave. Indices choose, and are none."""
        if not tensor.is_floating_point():
            return frozenset()
        number = tensor.untyped_storage()._cdata
        ways = self._ways.get(number, frozenset())
        if not ways or number not in self._rows:
            return ways
        matrix, width = self._rows[number]
        columns = columns_of(tensor, width)
        if columns is None:
            return ways
        whole = {(source, way) for source, way in ways if source == Source(matrix)}
        parts = {(Source(matrix, columns), way) for _, way in whole if columns}
        return (ways - whole) | parts

    def set(self, tensor: torch.Tensor, ways: Ways, rows_of: str | None = None) -> None:
        """Say what a tensor is made of, and whether its rows are what one matrix gives."""
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._ways[storage._cdata] = ways
        if rows_of is not None and tensor.is_contiguous() and tensor.storage_offset() == 0:
            self._rows[storage._cdata] = (rows_of, self._flow.features[rows_of][1])

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        name = func._schema.name.partition("::")[2]
        given = [_union(self.ways(one) for one in _tensors(arg)) for arg in (*args, *(kwargs or {}).values())]
        made = value(name, args)
        if made is None:
            made = func(*args, **(kwargs or {}))
        if not any(given):
            return made
        weight = _weight(name, given)
        ways = after(name.removesuffix("_"), given) if weight is None else self._expert_product(weight, args, given)
        inside = {one.untyped_storage()._cdata for one in _tensors(args)}
        for tensor in _tensors(made):
            number = tensor.untyped_storage()._cdata
            if number not in inside:
                self.set(tensor, ways, self._rows_of(tensor, args) if weight is None else _name(ways))
            elif func._schema.is_mutable:
                self.set(tensor, ways | self._ways.get(number, frozenset()))
        return made

    def _rows_of(self, made: torch.Tensor, args: tuple[object, ...]) -> str | None:
        """The matrix whose rows an operation on each number keeps; None if there is none."""
        for one in _tensors(args):
            matrix, width = self._rows.get(one.untyped_storage()._cdata, ("", 0))
            if width and one.shape == made.shape and one.is_contiguous() and columns_of(one, width) is None:
                return matrix
        return None

    def _expert_product(self, weight: int, args: tuple[object, ...], given: Sequence[Ways]) -> Ways:
        """Of a product by a parameter, which is the argument ``weight``: it is recorded as one by a matrix."""
        name = next(source.matrix for source, way in given[weight] if Way.WEIGHT in way)
        factors = [index for index, arg in enumerate(args) if isinstance(arg, torch.Tensor) and arg.ndim >= 2]
        other = next(index for index in reversed(factors) if index != weight)
        (factor, *_rest) = _tensors(args[weight])
        rows, columns = factor.shape[-2:]
        self._flow.into[name] = self._flow.into.get(name, frozenset()) | given[other]
        self._flow.features[name] = (rows, columns) if other < weight else (columns, rows)
        turned = factor.stride(-1) != 1
        self._flow.weight_rows[name] = "inputs" if (other < weight) != turned else "outputs"
        return frozenset({(Source(name), Way.PLAIN)})


def value(name: str, args: tuple[object, ...]) -> object:
    """What an operation gives whose result depends on values, where there are none; else None.

    Every mask is full, and of whatever is looked for there is one.
    """
    tensors = _tensors(args)
    if not tensors or not tensors[0].is_meta:
        return None
    if name == "_local_scalar_dense":
        dtype = tensors[0].dtype
        return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1
    if name == "nonzero":
        return torch.empty((1, tensors[0].ndim), dtype=torch.long, device="meta")
    return None


def after(name: str, given: Sequence[Ways]) -> Ways:
    """What the output of an operation is made of.

    Args:
        name: of the operation, as aten has it.
        given: for each of its arguments, what that is made of.
    """
    if name in ACTIVATIONS:
        return _with(_union(given), Way.ACTIVATED)
    if name in SOFTMAXES:
        return _with(_union(given), Way.SOFTMAX | Way.MIXED)
    if name in MIXERS:
        return _with(_union(given), Way.MIXED)
    if name in PRODUCTS:
        left, right = PRODUCTS[name]
        return _product(given[left], given[right]) | (given[0] if left else frozenset())
    if name.startswith(ATTENTION):
        scores = _with(given[0], Way.QUERY) | _with(given[1], Way.KEY)
        return _with(scores, Way.SOFTMAX | Way.MIXED) | _with(given[2], Way.VALUE | Way.MIXED)
    return _union(given)


def _product(left: Ways, right: Ways) -> Ways:
    """Of a matrix product. Each row of the left is a query of all columns of the right, until a softmax weighs them."""
    if not left or not right:
        return left | right
    if any(Way.SOFTMAX in way for _, way in left):
        return _with(left, Way.MIXED) | _with(right, Way.VALUE | Way.MIXED)
    return _with(left, Way.QUERY | Way.MIXED) | _with(right, Way.KEY | Way.MIXED)


def _weight(name: str, given: Sequence[Ways]) -> int | None:
    """Which argument of a product is a parameter of experts; None if none is.

    Which experts are taken of it says the router, whose matrix is among the ways, too.
    """
    if name not in PRODUCTS:
        return None
    return next((index for index, ways in enumerate(given) if any(Way.WEIGHT in way for _, way in ways)), None)


def _with(ways: Ways, more: Way) -> Ways:
    return frozenset((source, way | more) for source, way in ways)


def _name(ways: Ways) -> str:
    (source, _), *_others = ways
    return source.matrix


def _union(ways: Iterable[Ways]) -> Ways:
    return frozenset().union(*ways)
