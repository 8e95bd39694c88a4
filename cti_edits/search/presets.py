"""Searches under a name: the paper's nine systems, and those of plugins. No torch here.

`Preset` is what a plugin's hook ``presets`` gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit
from cti_edits.artifact.ranks import ROW_BLOCKS
from cti_edits.errors import EditError, printable
from cti_edits.models.architectures import Kind
from cti_edits.plugins import find_part, provided
from cti_edits.search.scorers import PAPER
from cti_edits.search.selectors import BEST
from cti_edits.search.settings import DIRECTIONS, DROPS, MATRICES, RATES, Part, SearchSettings


@dataclass(frozen=True)
class Preset:
    """What a search tries, for each kind of model: one system of the paper (DESIGN section 9), or another.

    Attributes:
        name: what it is asked for by; the paper's as the paper writes it, in lower case.
        top_q: for each kind of model, how many matrices are kept by their score; None tries all and needs no gradient.
            What is not said of encoder-decoders ("seq2seq"), here and of ``clusters``, is as for causal models.
        gradients_on: the examples that the gradients are taken on, if any are: the drawn sample or all of the
            validation part.
        clusters: for each kind of model, the K that are tried.
        evaluated_on: the examples that every candidate is evaluated on.
        partition: how rows are assigned to the K blocks.
        scorer: what a matrix is scored by.
        selector: what chooses by scores and outcomes.
        samples: how many examples are drawn.
        rates: the ρ that are tried.
        matrices: roles of the matrices that are tried.
        method: how edits are made.
        directions: with the method directions, the numbers N of directions that are tried.
        drops: with the method directions, the shares f of the loss that a step is to take off.
        epochs: with the method directions, fit the factors for so many epochs at most.
        compose: how many edits at most, each the best on top of those before.

    Raises:
        EditError: a value is missing for a kind of model, or there is no such part of the examples. Everything else is
            checked where `settings` are made.
    """

    name: str
    top_q: Mapping[Kind, int | None]
    gradients_on: Part
    clusters: Mapping[Kind, tuple[int, ...]]
    evaluated_on: Part
    partition: str = ROW_BLOCKS
    scorer: str = PAPER
    selector: str = BEST
    samples: int = 100
    rates: tuple[float, ...] = RATES
    matrices: tuple[str, ...] = MATRICES
    method: str = BlockSvdEdit.METHOD
    directions: tuple[int, ...] = DIRECTIONS
    drops: tuple[float, ...] = DROPS
    epochs: int = 0
    compose: int = 1

    def __post_init__(self) -> None:
        for field, by_kind in (("top_q", self.top_q), ("clusters", self.clusters)):
            if {"seq2seq", *by_kind} != set(get_args(Kind)):
                raise EditError(f"{field}: expected a value for each of {', '.join(get_args(Kind))}")
            object.__setattr__(self, field, {"seq2seq": by_kind.get("causal"), **by_kind})
        for field, part in (("gradients_on", self.gradients_on), ("evaluated_on", self.evaluated_on)):
            if part not in get_args(Part):
                raise EditError(f"{field}: expected one of {', '.join(get_args(Part))}, got {printable(part)!r}")

    @property
    def cuts_ranks(self) -> bool:
        """See `SearchSettings.cuts_ranks`."""
        return self.method == BlockSvdEdit.METHOD

    def takes_gradients(self, kind: Kind) -> bool:
        """See `SearchSettings.takes_gradients`."""
        return self.top_q[kind] is not None or not self.cuts_ranks

    def settings(self, kind: Kind) -> SearchSettings:
        """What a search with this preset tries on a language model of this kind.

        Raises:
            EditError: a value is out of range, or there is no such partition, scorer or selector.
        """
        return SearchSettings(
            top_q=self.top_q[kind],
            clusters=self.clusters[kind],
            gradients_on=self.gradients_on,
            evaluated_on=self.evaluated_on,
            partition=self.partition,
            scorer=self.scorer,
            selector=self.selector,
            samples=self.samples,
            rates=self.rates,
            matrices=self.matrices,
            method=self.method,
            directions=self.directions,
            drops=self.drops,
            epochs=self.epochs,
            compose=self.compose,
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
"""The paper's."""

DIRECTION_PRESETS = (
    Preset("sigma-step", _both(None), "sample", _WHOLE, "sample", method=DirectionsEdit.METHOD),
    Preset(
        "sigma-fit",
        _both(None),
        "sample",
        _WHOLE,
        "sample",
        method=DirectionsEdit.METHOD,
        directions=(1024, 4096),
        epochs=4,
    ),
)
"""Those that change single singular values."""

COMPOSE_PRESETS = (Preset("laser-compose", _both(None), "sample", _WHOLE, "validation", compose=5),)
"""LASER's greedy composition (its section 5.1)."""


def every_preset() -> list[Preset]:
    """The paper's, and those of plugins."""
    return [preset for _, preset in provided("presets", Preset)]


def find_preset(name: str) -> Preset:
    """The preset ``name``.

    Raises:
        EditError: there is none, or there are two.
    """
    return find_part("presets", Preset, name)


DEFAULT_PRESET = "sigma-step"
"""What a search follows that names neither a preset nor a method; docs/findings says what that rests on."""

ONLY_WITH = {
    BlockSvdEdit.METHOD: ("top_q", "rates", "partition", "scorer"),
    DirectionsEdit.METHOD: ("directions", "drops", "epochs"),
}
"""Settings that count with one method only."""


def chosen_settings(preset: str | None, kind: Kind, overrides: Mapping[str, object]) -> SearchSettings:
    """The settings of a preset, or of a method without one, with the values in ``overrides``.

    Where neither is named, a setting that counts with one method only, such as ``rates``, names it; else the search
    follows `DEFAULT_PRESET`.

    Raises:
        EditError: there is no such preset or method, a value is out of range, or it does not count with the method.
    """
    method = overrides.get("method")
    if preset is None and method is None:
        method = next((one for one, names in ONLY_WITH.items() if not overrides.keys().isdisjoint(names)), None)
    if preset is None and isinstance(method, str):
        base = SearchSettings() if method == BlockSvdEdit.METHOD else SearchSettings(method=method, clusters=(1,))
    else:
        base = find_preset(preset or DEFAULT_PRESET).settings(kind)
    settings = with_overrides(base, overrides)
    for other, names in ONLY_WITH.items():
        unused = next((name for name in names if name in overrides), None)
        if unused is not None and settings.method in ONLY_WITH and settings.method != other:
            raise EditError(f"{unused}: counts with the method {other} alone, and this search is of {settings.method}")
    return settings


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
