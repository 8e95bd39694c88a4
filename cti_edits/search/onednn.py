"""Linear layers by oneDNN, where that is faster than what torch takes by itself.

MKL, which multiplies float32 matrices for torch, does not use the AVX-512 of CPUs that are not Intel's; oneDNN, which
comes with torch as well, does, and takes half the time there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch

from cti_edits.search.replaced_forward import replaced_forward


@contextlib.contextmanager
def linear_by_onednn(model: torch.nn.Module) -> Iterator[None]:
    """Inside, float32 ``torch.nn.Linear`` layers on the CPU run by oneDNN: full precision, summed in another order.

    Only with AVX-512, and as long as float32 products are not allowed to be rounded to less. The weights are read where
    they are, so that edits of them count, and gradients pass.
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
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.get_float32_matmul_precision() == "highest"
    )


def _plain_linears(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """The float32 linear layers on the CPU that nobody has given another way to run."""
    return [
        module
        for module in model.modules()
        if type(module) is torch.nn.Linear
        and "forward" not in vars(module)
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
    ]


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """By oneDNN, x ``weight``ᵀ + ``bias``, whatever the CPU; all float32, x (..., n), ``weight`` (m, n)."""
    found: torch.Tensor = torch.nn.functional.linear(x.to_mkldnn(), weight, bias)
    return found.to_dense()


def _linear(module: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    # An autocast region gives it other dtypes; so may a model that computes in several.
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or not x.numel():
        return torch.nn.functional.linear(x, module.weight, module.bias)
    return product(x, module.weight, module.bias)
