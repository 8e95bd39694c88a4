"""What flows into what: one pass of a model without values, in which each tensor knows which matrices it is made of."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

POSITIONS = 8
"""Of the sequence that is passed."""


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


Ways = frozenset[tuple[str, Way]]
"""Names of matrices, each with what happened to its output."""

ACTIVATIONS = frozenset(
    {
        "celu", "clamp", "elu", "erf", "exp", "expm1", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh",
        "leaky_relu", "log_sigmoid_forward", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "sqrelu",
        "tanh", "threshold",
    }
)  # fmt: skip
"""Nonlinear functions of each number, as aten names them. Normalizations are none: they scale."""
MIXERS = frozenset({"convolution", "cumsum", "cumprod", "logcumsumexp", "_fft_r2c", "_fft_c2c", "_fft_c2r", "flip"})
PRODUCTS = frozenset({"bmm", "mm", "matmul", "baddbmm", "addmm", "_grouped_mm"})
ATTENTIONS = "_scaled_dot_product"


@dataclass
class Flow:
    """What one pass of a model showed.

    Attributes:
        into: from the name of a matrix to the matrices that its input is made of.
        features: from the name of a matrix to the sizes of the last dimension of its input and output.
        calls: from the name of a module that is a member of a list to the shapes of its first input and its output.
    """

    into: dict[str, Ways] = field(default_factory=dict)
    features: dict[str, tuple[int, int]] = field(default_factory=dict)
    calls: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


def is_matrix(module: torch.nn.Module) -> bool:
    """Whether a module multiplies by a matrix of its own: nn.Linear, GPT-2's Conv1D and their likes."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 2 and not isinstance(module, torch.nn.Embedding)


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
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3:
            made_of.set(parameter, frozenset({(name, Way.WEIGHT)}))
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
    def hook(_: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
        (given, *_rest), (made, *_more) = _tensors((args, kwargs)), _tensors(output)
        flow.into[name] = flow.into.get(name, frozenset()) | made_of.ways(given)
        flow.features[name] = (given.shape[-1], made.shape[-1])
        made_of.set(made, frozenset({(name, Way.PLAIN)}))

    return hook


def _member_hook(name: str, flow: Flow) -> Hook:
    def hook(_: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
        given, made = _tensors((args, kwargs)), _tensors(output)
        if given and made:
            flow.calls[name] = (tuple(given[0].shape), tuple(made[0].shape))

    return hook


def _tensors(found: object) -> list[torch.Tensor]:
    return [one for one in tree_leaves(found) if isinstance(one, torch.Tensor)]


class _MadeOf(TorchDispatchMode):
    """While it is on, every storage knows the matrices that it is made of; what needs values gets some."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._ways: dict[int, Ways] = {}
        # Storages that are kept have numbers of their own. They are on the meta device and take no memory.
        self._kept: list[torch.UntypedStorage] = []

    def ways(self, tensor: torch.Tensor) -> Ways:
        return self._ways.get(tensor.untyped_storage()._cdata, frozenset())

    def set(self, tensor: torch.Tensor, ways: Ways) -> None:
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._ways[storage._cdata] = ways

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload[..., object],
        types: Iterable[type],  # noqa: ARG002
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        name = func._schema.name.partition("::")[2]
        given = [[self.ways(one) for one in _tensors(arg)] for arg in (*args, *(kwargs or {}).values())]
        made = _value(name, args)
        if made is None:
            made = func(*args, **(kwargs or {}))
        each = [_union(one) for one in given]
        if name in PRODUCTS and (weight := _weight(each)):
            tensors = _tensors((args, kwargs or {}))
            ways = self._expert_product(weight, each, tensors, _tensors(made)[0])
        else:
            ways = after(name.removesuffix("_"), each)
        for tensor in _tensors(made):
            former = self.ways(tensor) if tensor is not None else frozenset()
            if ways or former:
                self.set(tensor, ways | (former if _shares(tensor, args) else frozenset()))
        return made

    def _expert_product(
        self, weight: str, given: Sequence[Ways], tensors: Sequence[torch.Tensor], made: torch.Tensor
    ) -> Ways:
        """Of a product by the parameter ``weight``: it is recorded as one by a matrix."""
        into = frozenset(pair for ways in given for pair in ways if not _is_weight(ways))
        self._flow.into[weight] = self._flow.into.get(weight, frozenset()) | into
        inner = [one.shape for one in tensors if one.ndim >= 2][-1]
        self._flow.features[weight] = (inner[-2], made.shape[-1])
        return frozenset({(weight, Way.PLAIN)})


def _shares(tensor: torch.Tensor, args: Sequence[object]) -> bool:
    number = tensor.untyped_storage()._cdata
    return any(one.untyped_storage()._cdata == number for one in _tensors(args))


def _weight(given: Sequence[Ways]) -> str | None:
    """The parameter that is multiplied by, if there is one."""
    return next((name for ways in given for name, way in ways if Way.WEIGHT in way), None)


def _is_weight(ways: Ways) -> bool:
    """Whether a factor is a parameter; which rows of it are taken says the router, another matrix."""
    return any(Way.WEIGHT in way for _, way in ways)


def _union(ways: Iterable[Ways]) -> Ways:
    return frozenset().union(*ways)


def _value(name: str, args: tuple[object, ...]) -> object:
    """What an operation gives that needs values: all masks are full, of each kind of row there is one."""
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
    if name in ("_softmax", "softmax", "_safe_softmax"):
        return _with(_union(given), Way.SOFTMAX | Way.MIXED)
    if name in MIXERS:
        return _with(_union(given), Way.MIXED)
    if name in ("bmm", "mm", "matmul"):
        return _product(given[0], given[1])
    if name in ("baddbmm", "addmm"):
        return given[0] | _product(given[1], given[2])
    if name.startswith(ATTENTIONS):
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


def _with(ways: Ways, more: Way) -> Ways:
    return frozenset((name, way | more) for name, way in ways)
