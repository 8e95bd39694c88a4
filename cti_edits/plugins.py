"""Finds plugins and loads each behind a guard, so that a broken one is named and left out."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pluggy

from cti_edits import hookspecs
from cti_edits.errors import printable

GROUP = "cti_edits"
BUILT_IN = "built-in"
OFF_SWITCH = "CTI_EDITS_DISABLE_PLUGINS"


class BuiltIn:
    """What cti-edits itself provides, through the same door as any plugin."""

    @hookspecs.hookimpl
    def architecture_folders(self) -> str:
        """The data files that come with the package."""
        return str(Path(__file__).parent / "models" / "architectures")


@cache
def plugin_manager() -> pluggy.PluginManager:
    """The manager with the built-in plugin and every installed one that loads.

    ``CTI_EDITS_DISABLE_PLUGINS=1`` leaves the installed ones out.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(BuiltIn(), name=BUILT_IN)
    if os.environ.get(OFF_SWITCH, "") in ("", "0"):
        for entry_point in entry_points(group=GROUP):
            try:
                manager.register(entry_point.load(), name=entry_point.name)
            except Exception as error:
                leave_out(entry_point.name, f"({entry_point.value}) could not be loaded", error)
    return manager


def leave_out(name: str, what: str, error: Exception) -> None:
    """Say on stderr, on one line, that the plugin ``name`` is left out and why."""
    print(
        f"cti-edits: warning: the plugin {printable(name)!r} {printable(what)} and is left out: "
        f"{printable(f'{type(error).__name__}: {error}', 500)}; {OFF_SWITCH}=1 turns plugins off",
        file=sys.stderr,
    )
