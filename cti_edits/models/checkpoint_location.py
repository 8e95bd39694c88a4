"""The arguments that say where a model's weights were loaded from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, cast

from cti_edits.artifact.manifest import Edit


class CheckpointLocation(TypedDict, total=False):
    """The arguments of transformers' ``from_pretrained`` that say where a model's weights are, beside their place."""

    revision: str | None
    subfolder: str | None
    variant: str | None
    gguf_file: str | None
    cache_dir: str | None
    use_safetensors: bool | None


def checkpoint_location(arguments: Mapping[str, Any]) -> CheckpointLocation:
    """Those of ``arguments`` that say where weights are."""
    given = {key: arguments[key] for key in CheckpointLocation.__annotations__ if arguments.get(key) not in (None, "")}
    return cast(CheckpointLocation, given)


def edit_subfolder(edit: Edit) -> str | None:
    """The subfolder that an edit's base was loaded from when it was searched; None if it does not say."""
    asked = None if edit.search is None else edit.search.asked
    return None if asked is None else asked.model.subfolder
