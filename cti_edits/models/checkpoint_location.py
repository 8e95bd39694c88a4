"""The arguments of ``from_pretrained`` that say where a model's weights are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast

from cti_edits.artifact.manifest import Edit


class CheckpointLocation(TypedDict, total=False):
    """Those arguments of ``from_pretrained`` that, with the folder or hub id, say where a model's weights are."""

    revision: str | None
    subfolder: str | None
    variant: str | None
    gguf_file: str | None
    cache_dir: str | None
    use_safetensors: bool | None


def checkpoint_location(arguments: Mapping[str, object]) -> CheckpointLocation:
    """Those of ``arguments``, which are for ``from_pretrained``, that say where weights are and are not empty."""
    known = CheckpointLocation.__annotations__
    return cast(CheckpointLocation, {key: arguments[key] for key in known if arguments.get(key) not in (None, "")})


def edit_subfolder(edit: Edit) -> str | None:
    """The subfolder from which the search that made ``edit`` loaded the base; None if the edit does not say."""
    asked = None if edit.search is None else edit.search.asked
    return None if asked is None else asked.model.subfolder


def edit_gguf_file(edit: Edit) -> str | None:
    """The GGUF file from which the search that made ``edit`` loaded the base; None if the edit names none."""
    asked = None if edit.search is None else edit.search.asked
    return None if asked is None else asked.model.gguf_file
