"""The settings of ``cti-edits search``: its preset's, or the defaults, with the options over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cti_edits.cli import options

if TYPE_CHECKING:
    from cti_edits.models.architectures import Kind
    from cti_edits.search.settings import SearchSettings


_LISTS: Mapping[str, Callable[[str], int | float]] = {
    "clusters": int,
    "rates": float,
    "directions": int,
    "drops": float,
}
"""Settings that are several numbers, and of which kind."""


def given_settings(values: Mapping[str, str | int | float | None]) -> dict[str, object]:
    """The settings that options were given for, by name.

    Args:
        values: by the setting's name, what its option says; lists as the text that they are written in.

    Raises:
        EditError: an option's text is no such list.
    """
    return {name: _value(name, value) for name, value in values.items() if value is not None}


def _value(name: str, value: str | int | float) -> object:
    if not isinstance(value, str):
        return value
    if name in _LISTS:
        return options.numbers(name, value, _LISTS[name])
    return options.names(value) if name == "matrices" else value


def search_settings(preset: str | None, kind: Kind, given: Mapping[str, object]) -> SearchSettings:
    """The settings of a search on a model of this kind.

    Raises:
        EditError: no preset has that name, or a value is out of range.
    """
    from cti_edits.search.presets import chosen_settings

    return chosen_settings(preset, kind, given)
