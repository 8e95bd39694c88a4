"""The transformers model inside a wrapper, the layer inside an adapter, and weights that cannot be edited in place."""

from __future__ import annotations

import sys

import torch

from cti_edits.errors import FitError


def inner_model(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside PEFT's, torch.compile's and data-parallel wrappers, in any order and number.

    A model without a wrapper is returned itself. Wrapper and model share their weights, so that an edit of one is an
    edit of the other.
    """
    while (inside := _inside(model)) is not None:
        model = inside
    return model


def _inside(model: torch.nn.Module) -> torch.nn.Module | None:
    # torch.compile's class is not imported for this: that takes a second.
    compiled: torch.nn.Module | None = getattr(model, "_modules", {}).get("_orig_mod")
    if compiled is not None:
        return compiled
    if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        inside: torch.nn.Module = model.module
        return inside
    if callable(base := getattr(model, "get_base_model", None)):
        found: torch.nn.Module = base()
        return found if found is not model else None
    return None


def frozen(model: torch.nn.Module) -> str | None:
    """Why a compiled model would not use edited weights; None if it would, or is not compiled."""
    # The module takes a second to import. Unless it was imported, the setting is off.
    settings = sys.modules.get("torch._inductor.config")
    if not getattr(settings, "freezing", False):
        return None
    inside: torch.nn.Module | None = model
    while inside is not None:
        if "_orig_mod" in inside._modules or getattr(inside, "_compiled_call_impl", None) is not None:
            return (
                "the model is compiled with torch._inductor.config.freezing, which makes constants of its weights; "
                "turn that off, or apply the edit before torch.compile"
            )
        inside = _inside(inside)
    return None


def has_adapter(module: torch.nn.Module) -> bool:
    """Whether ``module`` is a PEFT layer that wraps one of the model's own."""
    return callable(getattr(module, "get_base_layer", None))


def inner_layer(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """The model's own layer inside a PEFT layer; ``module`` itself if it is none.

    Args:
        module: a layer.
        name: its name, for messages.

    Raises:
        FitError: the adapter is merged into the weights, or the layer is one that it trained.
    """
    if getattr(module, "modules_to_save", None) is not None and hasattr(module, "original_module"):
        raise FitError(f"module: {name} was trained with the adapter (modules_to_save), and is not the base model's")
    if not has_adapter(module):
        return module
    if getattr(module, "merged", False):
        raise FitError(
            f"module: an adapter is merged into {name}, whose weights are not the base model's; "
            "call unmerge_adapter() first"
        )
    found: torch.nn.Module = module.get_base_layer()  # type: ignore[operator]
    return found


def keep_hook(former: torch.nn.Module, layer: torch.nn.Module) -> None:
    """Give ``layer`` a copy of the accelerate hook of ``former``, whose place it takes. It moves inputs to a device."""
    if (hook := getattr(former, "_hf_hook", None)) is not None:
        import copy

        from accelerate.hooks import add_hook_to_module  # type: ignore[import-untyped]

        add_hook_to_module(layer, copy.copy(hook))


def no_values(module: torch.nn.Module, parameter: torch.Tensor) -> str | None:
    """Why a weight cannot be edited in place where it is; None if it can."""
    if getattr(getattr(module, "_hf_hook", None), "offload", False):
        return (
            "is offloaded by accelerate (device_map) and is copied to its device at each call; "
            "load the model without offloading"
        )
    if parameter.is_meta:
        return "is on the meta device and holds no values; load the model with its weights"
    if hasattr(parameter, "device_mesh"):
        return "is sharded over several devices (a DTensor); load the model whole, without tp_plan or FSDP"
    return None
