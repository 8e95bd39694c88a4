"""Finds plugins and loads each behind a guard, so that a broken one is named and left out."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pluggy

from cti_edits import hookspecs

GROUP = "cti_edits"
OFF_SWITCH = "CTI_EDITS_NO_PLUGINS"


class BuiltIn:
    """What cti-edits itself provides, through the same door as any plugin."""

    @hookspecs.hookimpl
    def architecture_folders(self) -> str:
        """The data files that come with the package."""
        return str(Path(__file__).parent / "architectures")


@cache
def plugin_manager() -> pluggy.PluginManager:
    """The manager with the built-in plugin and every installed one that loads.

    ``CTI_EDITS_NO_PLUGINS=1`` leaves the installed ones out.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(BuiltIn(), name="built-in")
    if os.environ.get(OFF_SWITCH, "") in ("", "0"):
        for entry_point in entry_points(group=GROUP):
            try:
                manager.register(entry_point.load(), name=entry_point.name)
            except Exception as error:
                print(
                    f"cti-edits: warning: the plugin {entry_point.name!r} ({entry_point.value}) could not be loaded "
                    f"and is left out: {error}; {OFF_SWITCH}=1 turns plugins off",
                    file=sys.stderr,
                )
    return manager
