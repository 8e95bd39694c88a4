"""Plugins that are found as installed ones are: a folder on sys.path with a dist-info that names the entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cti_edits.models.architectures import families
from cti_edits.plugins import OFF_SWITCH, plugins


class InstalledPlugins:
    """A folder that plugins are installed into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, source: str = "", target: str | None = None, distribution: str | None = None) -> Path:
        """Install a plugin of one module, version 1.0, and return its folder of data files.

        Args:
            name: of the module, and of the entry point.
            source: of the module.
            target: what the entry point names, if it is not the module.
            distribution: its name, if it is not the module's.
        """
        (self.folder / f"{name}.py").write_text(source, encoding="utf-8")
        distribution = distribution or name
        info = self.folder / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cti_edits]\n{name} = {target or name}\n")
        data = self.folder / f"{name}_data"
        data.mkdir()
        forget()
        return data


def forget() -> None:
    """Have plugins looked for anew."""
    families.cache_clear()
    plugins.cache_clear()


@contextmanager
def installed_plugins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstalledPlugins]:
    """A folder for plugins, on sys.path for as long as this is open; their modules are forgotten then."""
    monkeypatch.delenv(OFF_SWITCH, raising=False)
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    forget()
    try:
        yield InstalledPlugins(folder)
    finally:
        forget()
        for module in set(sys.modules) - before:
            if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[module]
