"""What a plugin of cti-edits can add (pluggy). A plugin is a module named in the entry-point group ``cti_edits``."""

from __future__ import annotations

import pluggy

hookspec = pluggy.HookspecMarker("cti_edits")
hookimpl = pluggy.HookimplMarker("cti_edits")


@hookspec
def architecture_folders() -> str:  # type: ignore[empty-body]
    """A folder of architecture data files, ``<family>.json``, like those in cti_edits/models/architectures/."""
