"""``cti-edits presets``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.report.listing import print_listing

if TYPE_CHECKING:
    from cti_edits.search.presets import Preset


def presets(as_json: AsJson = False) -> None:
    """List the presets for search --preset with what they try: the paper's nine systems, and others."""
    from cti_edits.errors import printable
    from cti_edits.models.architectures import Kind
    from cti_edits.search.presets import PRESETS, every_preset
    from cti_edits.search.settings import RATES, Part

    def on(preset: Preset, part: Part) -> str:
        return f"{preset.samples} drawn" if part == "sample" else "first 20 %"

    def by_kind(causal: str, masked: str) -> str:
        return causal if causal == masked else f"{causal} (masked: {masked})"

    def matrices(preset: Preset, kind: Kind) -> str:
        kept = preset.top_q[kind]
        return "all" if kept is None else f"top {kept}"

    def levels(preset: Preset, kind: Kind) -> str:
        return ",".join(map(str, preset.clusters[kind]))

    rows = []
    every = every_preset()
    if as_json:
        for preset in every:
            print_json(preset)
        return
    for preset in (one for one in every if one.cuts_ranks):
        scored = preset.takes_gradients("causal")
        rows.append(
            (
                preset.name,
                by_kind(matrices(preset, "causal"), matrices(preset, "masked")),
                on(preset, preset.gradients_on) if scored else "none",
                by_kind(levels(preset, "causal"), levels(preset, "masked")),
                on(preset, preset.evaluated_on),
                preset.partition,
            )
        )
    print_listing(("preset", "matrices tried", "gradients on", "K", "evaluated on", "partition"), rows)
    print(
        f"Each tries U_in and U_out of every layer, and ρ = {_numbers(RATES)}. "
        '"First 20 %" is the validation part, from which the 100 are drawn; "masked": masked language models.'
    )
    others = [preset for preset in every if not preset.cuts_ranks]
    print()
    print_listing(
        ("preset", "method", "tries", "gradients on", "K", "evaluated on"),
        [
            (
                preset.name,
                preset.method,
                _tries(preset),
                on(preset, preset.gradients_on),
                by_kind(levels(preset, "causal"), levels(preset, "masked")),
                on(preset, preset.evaluated_on),
            )
            for preset in others
        ],
    )
    print(
        "These keep no top q and cut no ranks. Directions: the N singular values with the largest gradients, of all "
        "matrices together, get others, by one step that takes the share f of the loss to first order, or by N factors "
        "that are fitted; cross-validation on the calibration rows chooses N and the number of epochs."
    )
    usual = PRESETS["laser"]
    for preset in every:
        own = [
            *([f"matrices {', '.join(preset.matrices)}"] if preset.matrices != usual.matrices else []),
            *([f"ρ = {_numbers(preset.rates)}"] if preset.cuts_ranks and preset.rates != usual.rates else []),
            *([f"scorer {preset.scorer}"] if preset.scorer != usual.scorer else []),
            *([f"selector {preset.selector}"] if preset.selector != usual.selector else []),
            *([f"at most {preset.compose} edits, each on top of those before"] if preset.compose > 1 else []),
        ]
        if own:
            print(printable(f"But {preset.name}: {'; '.join(own)}.", 2000))


def _tries(preset: Preset) -> str:
    """What a preset that cuts no ranks tries."""
    if preset.method != DirectionsEdit.METHOD:
        return "what the method proposes"
    counts = f"N = {_numbers(preset.directions)}"
    if preset.epochs:
        return f"{counts}, fitted for {preset.epochs} epochs at most"
    return f"{counts} × f = {_numbers(preset.drops)}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
