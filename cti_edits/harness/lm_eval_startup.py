"""Makes ``lm_eval --model cti`` work from a plain shell with lm-eval releases that scan no entry points.

``cti_edits_lm_eval.pth``, one line that Python runs at every start, puts a finder in front of the import system. It
knows one name, ``lm_eval.models``, and asks `registering_spec` here for that module. The module's loader registers
``cti`` in lm-eval's public registry once the package has filled it, and takes the finder away. An earlier entry would
make lm-eval believe that the registry is complete, and hide every other model. Where lm-eval loads entry points
itself, nothing is registered here. ``CTI_EDITS_NO_STARTUP=1`` turns it off. The standard library alone is used.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader

MODEL = ("cti", "cti_edits.harness.lm:EditedLM")
OFF_SWITCH = "CTI_EDITS_NO_STARTUP"


def register() -> None:
    """Register ``cti`` with lm-eval unless it is there already or lm-eval loads entry points itself."""
    from lm_eval.api import registry

    name, target = MODEL
    if not hasattr(registry, "load_plugins") and name not in registry.model_registry:
        registry.model_registry.register(name, target=target)


class RegisteringLoader:
    """The real loader of ``lm_eval.models``, with `register` called after it has run the module."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then register; a failure to register never breaks lm-eval."""
        self.loader.exec_module(module)
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "CtiEditsFinder"]
        try:
            register()
        except Exception as error:
            print(f"cti-edits: could not register the model 'cti' with lm-eval: {error}", file=sys.stderr)


def registering_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    """The spec that the other finders have for ``name``, with its loader wrapped; None leaves the import to them."""
    if os.environ.get(OFF_SWITCH, "") not in ("", "0"):
        return None
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
        if spec is not None:
            if spec.loader is not None:
                spec.loader = RegisteringLoader(spec.loader)  # type: ignore[assignment]
            return spec
    return None
