"""A backward pass that stops at a block, asks no weight for a gradient, and is observe_gradients at linear layers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch


@contextlib.contextmanager
def without_weight_gradients(model: torch.nn.Module) -> Iterator[None]:
    """Inside, no weight requires a gradient; after it, those do that did."""
    former = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in former:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, required in former:
            parameter.requires_grad_(required)


@contextlib.contextmanager
def gradients_stop_at(block: torch.nn.Module) -> Iterator[None]:
    """Inside, gradients of one pass reach back to what first enters this block, and no further.

    A block that stands for several, as ALBERT's does, is entered several times.
    """
    entered = False

    def leaf(_: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        nonlocal entered
        if entered:
            return None
        entered = True
        if arguments:
            return (arguments[0].detach().requires_grad_(), *arguments[1:]), named
        return arguments, {**named, "hidden_states": named["hidden_states"].detach().requires_grad_()}

    handle = block.register_forward_pre_hook(leaf, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def observe_weight_gradients(
    parameters: Sequence[torch.nn.Parameter], take: Callable[[int, torch.Tensor], None]
) -> Iterator[None]:
    """Inside, ``take`` is given each parameter's number and its gradient, which is dropped then."""
    former = [(parameter, parameter.requires_grad, parameter.grad) for parameter in parameters]

    def watch(index: int, parameter: torch.Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            take(index, gradient)

    with contextlib.ExitStack() as stack:
        try:
            for index, parameter in enumerate(parameters):
                parameter.requires_grad_(True)
                parameter.grad = None
                hook = functools.partial(watch, index)
                stack.callback(parameter.register_post_accumulate_grad_hook(hook).remove)  # type: ignore[no-untyped-call]
            yield
        finally:
            for parameter, required, gradient in former:
                parameter.requires_grad_(required)
                parameter.grad = gradient


@contextlib.contextmanager
def observe_gradients(
    modules: Sequence[torch.nn.Module], take: Callable[[int, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """Inside, ``take`` is given each module's number, its input and the gradient at its output."""

    def watch(index: int, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if output.requires_grad:
            x = inputs[0].detach()
            output.register_hook(lambda delta: take(index, x, delta))  # type: ignore[no-untyped-call]

    handles = [module.register_forward_hook(functools.partial(watch, index)) for index, module in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
