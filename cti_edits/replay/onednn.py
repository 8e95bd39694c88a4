"""Linear layers by oneDNN, where that is faster than what torch takes by itself.

MKL, which multiplies float32 matrices for torch, does not use the AVX-512 of CPUs that are not Intel's; oneDNN, which
comes with torch as well, does, and takes half the time there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch

from cti_edits.replay.replaced_forward import replaced_forward


@contextlib.contextmanager
def linear_by_onednn(model: torch.nn.Module) -> Iterator[None]:
    """Inside, float32 ``torch.nn.Linear`` layers on the CPU run by oneDNN: full precision, summed in another order.

    Only with AVX-512, where no gradients are computed, and as long as float32 products are not allowed to be rounded to
    less. The weights are read where they are, so that edits of them count.
    """
    with contextlib.ExitStack() as stack:
        if is_exact_and_fast():
            for module in _plain_linears(model):
                stack.enter_context(replaced_forward(module, functools.partial(_linear, module)))
        yield


def is_exact_and_fast() -> bool:
    """Whether oneDNN computes float32 products in full precision here, and has AVX-512 for it."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and _is_full_precision()
    )


def _is_full_precision() -> bool:
    """Whether float32 products may not be rounded to less."""
    # Since torch 2.9, which refuses the older question once a precision was set in the newer way.
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None:
        return torch.get_float32_matmul_precision() == "highest"
    return settings.fp32_precision in ("none", "ieee")


def _plain_linears(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """The float32 linear layers on the CPU that nobody has given another way to run.

    Not those whose weight is cut from a wider tensor: oneDNN would take a thousand times as long.
    """
    return [
        module
        for module in model.modules()
        if type(module) is torch.nn.Linear
        and "forward" not in vars(module)
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and module.weight.is_contiguous()
    ]


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """By oneDNN, x ``weight``ᵀ + ``bias``, whatever the CPU; all float32.

    Args:
        x: (..., n).
        weight: (m, n), contiguous.
        bias: (m,).
    """
    # What torch.compile calls. The public way, over tensors in oneDNN's own layout, copies x and what comes out.
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def _linear(module: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    # An autocast region gives it other dtypes; so may a model that computes in several.
    other = x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    if other or torch.is_grad_enabled() or not x.numel():
        return torch.nn.functional.linear(x, module.weight, module.bias)
    return product(x, module.weight, module.bias)
