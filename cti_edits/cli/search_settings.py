"""The settings of ``cti-edits search``: its preset's, or the defaults, with the options over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cti_edits.cli import options

if TYPE_CHECKING:
    from cti_edits.models.architectures import Kind
    from cti_edits.search.settings import SearchSettings


def given_settings(
    seed: int,
    samples: int | None,
    top_q: int | None,
    clusters: str | None,
    rates: str | None,
    matrices: str | None,
    parts: Mapping[str, str | None],
) -> dict[str, object]:
    """The settings that options were given for, by name. ``parts`` has those that are names of parts.

    Raises:
        EditError: an option's text is no such list.
    """
    every = {
        "seed": seed,
        "samples": samples,
        "top_q": top_q,
        "clusters": None if clusters is None else options.numbers("clusters", clusters, int),
        "rates": None if rates is None else options.numbers("rates", rates, float),
        "matrices": None if matrices is None else options.names(matrices),
        **parts,
    }
    return {name: value for name, value in every.items() if value is not None}


def search_settings(preset: str | None, kind: Kind, given: Mapping[str, object]) -> SearchSettings:
    """The settings of a search on a model of this kind.

    Raises:
        EditError: no preset has that name, or a value is out of range.
    """
    from cti_edits.search.presets import find_preset, with_overrides
    from cti_edits.search.settings import SearchSettings

    base = SearchSettings() if preset is None else find_preset(preset).settings(kind)
    return with_overrides(base, given)
