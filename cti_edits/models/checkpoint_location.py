"""The arguments that say where a model's weights were loaded from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.manifest import Edit


class CheckpointLocation(TypedDict, total=False):
    """The arguments of transformers' ``from_pretrained`` that say where a model's weights are, beside their place."""

    revision: str | None
    subfolder: str | None
    variant: str | None
    gguf_file: str | None
    cache_dir: str | None
    use_safetensors: bool | None


def checkpoint_location(arguments: Mapping[str, object]) -> CheckpointLocation:
    """Those of ``arguments``, which are for ``from_pretrained``, that say where weights are and are not empty."""
    given = {key: arguments[key] for key in CheckpointLocation.__annotations__ if arguments.get(key) not in (None, "")}
    return cast(CheckpointLocation, given)


def edit_subfolder(edit: Edit) -> str | None:
    """The subfolder that an edit's base was loaded from when it was searched; None if it does not say."""
    asked = (edit.search or {}).get("asked")
    return Asked.from_json(asked).model.subfolder if asked else None
