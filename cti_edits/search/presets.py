"""The paper's nine systems, each a preset of the search. No torch here."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from cti_edits.errors import EditError, printable
from cti_edits.models.architectures import Kind
from cti_edits.search.settings import Part, Partition, SearchSettings


@dataclass(frozen=True)
class Preset:
    """One system of the paper (DESIGN section 7).

    Attributes:
        name: as the paper writes it, in lower case.
        top_q: for each kind of model, how many matrices are kept by their score; None tries all and needs no gradient.
        gradients_on: the examples that the gradients are taken on, if any are: the drawn sample or all of the
            validation part.
        clusters: for each kind of model, the K that are tried.
        evaluated_on: the examples that every candidate is evaluated on.
        partition: how rows are assigned to the K blocks.
    """

    name: str
    top_q: Mapping[Kind, int | None]
    gradients_on: Part
    clusters: Mapping[Kind, tuple[int, ...]]
    evaluated_on: Part
    partition: Partition = "row-blocks"

    def settings(self, kind: Kind) -> SearchSettings:
        """What a search with this preset tries on a causal or masked language model."""
        return SearchSettings(
            top_q=self.top_q[kind],
            clusters=self.clusters[kind],
            gradients_on=self.gradients_on,
            evaluated_on=self.evaluated_on,
            partition=self.partition,
            preset=self.name,
        )


def _both(value: int | None) -> Mapping[Kind, int | None]:
    return {"causal": value, "masked": value}


_WHOLE: Mapping[Kind, tuple[int, ...]] = {"causal": (1,), "masked": (1,)}
_LEVELS: Mapping[Kind, tuple[int, ...]] = {"causal": (2, 4, 8, 16), "masked": (1, 2, 4, 8)}
_ALL_LEVELS: Mapping[Kind, tuple[int, ...]] = {"causal": (1, 2, 4, 8, 16), "masked": (1, 2, 4, 8, 16)}

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("laser", _both(None), "sample", _WHOLE, "validation"),
        Preset("laser-grads-se", _both(5), "validation", _WHOLE, "validation"),
        Preset("laser-100e", _both(None), "sample", _WHOLE, "sample"),
        Preset("laser-100g-se", _both(5), "sample", _WHOLE, "validation"),
        Preset("laser-100g-100e", _both(5), "sample", _WHOLE, "sample"),
        Preset("cl-laser", _both(None), "sample", _ALL_LEVELS, "validation"),
        Preset("cl-100g-se", _both(7), "sample", _LEVELS, "validation"),
        Preset("cl-100g-100e", {"causal": 5, "masked": 7}, "sample", _LEVELS, "sample"),
        Preset("optimal-clustering", _both(None), "sample", _ALL_LEVELS, "validation", "k-subspaces"),
    )
}


def find_preset(name: str) -> Preset:
    """The preset ``name``.

    Raises:
        EditError: there is none; the nearest names are given.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name.lower(), PRESETS, 3, 0.5) or list(PRESETS)
        raise EditError(f"preset: no preset is called {printable(name)!r}; did you mean {', '.join(near)}?")
    return PRESETS[name]


def with_overrides(settings: SearchSettings, overrides: Mapping[str, object]) -> SearchSettings:
    """``settings`` with the values in ``overrides``; no longer the preset's if one of them makes a difference.

    A number of samples takes the place of the drawn ones, and of the whole validation part where nothing is drawn.

    Raises:
        EditError: a value is out of range.
    """
    changed = dataclasses.replace(settings, **overrides)  # type: ignore[arg-type]
    if "samples" in overrides and not settings.draws:
        changed = dataclasses.replace(changed, gradients_on="sample", evaluated_on="sample")
    same = dataclasses.replace(changed, seed=settings.seed) == settings
    return changed if same else dataclasses.replace(changed, preset=None)
