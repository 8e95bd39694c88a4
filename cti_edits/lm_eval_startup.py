"""Makes ``lm_eval --model cti`` work from a plain shell with lm-eval releases that scan no entry points.

Run at every interpreter start by ``cti_edits_lm_eval.pth``, so it imports nothing but `sys` and `os`, which Python
has loaded by then. It puts one finder in front of the import system, which waits for ``lm_eval.models``, registers
``cti`` in lm-eval's public registry once that package has filled it (an earlier entry would make lm-eval believe that
the registry is complete, and hide every other model), and leaves. Where lm-eval loads entry points itself, nothing is
registered here. ``CTI_EDITS_NO_STARTUP=1`` turns it off.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

WAITS_FOR = "lm_eval.models"
MODEL = ("cti", "cti_edits.lm:EditedLM")


def register() -> None:
    """Register ``cti`` with lm-eval unless it is there already or lm-eval loads entry points itself."""
    from lm_eval.api import registry

    name, target = MODEL
    if not hasattr(registry, "load_plugins") and name not in registry.model_registry:
        registry.model_registry.register(name, target=target)


class RegisteringLoader:
    """The real loader of ``lm_eval.models``, with `register` called after it has run the module."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader does."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then register; a failure to register never breaks lm-eval."""
        self.loader.exec_module(module)
        try:
            register()
        except Exception as error:
            print(f"cti-edits: could not register the model 'cti' with lm-eval: {error}", file=sys.stderr)


class WaitingFinder:
    """A meta path finder that knows one name, asks the other finders for it, and then takes itself away."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of ``lm_eval.models`` with its loader wrapped; None for every other name."""
        if fullname != WAITS_FOR:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(fullname, path, target) if find_spec else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = RegisteringLoader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


def install() -> None:
    """Wait for ``lm_eval.models``; if it is loaded already, register at once."""
    if os.environ.get("CTI_EDITS_NO_STARTUP", "") not in ("", "0"):
        return
    if WAITS_FOR in sys.modules:
        register()
    elif not any(isinstance(finder, WaitingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, WaitingFinder())


install()
