"""``cti-edits presets``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cti_edits.report.listing import print_listing

if TYPE_CHECKING:
    from cti_edits.search.presets import Preset


def presets() -> None:
    """List the presets for search --preset with their search spaces: the paper's nine systems, and those of plugins."""
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
    for preset in every_preset():
        scored = preset.top_q["causal"] is not None
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
    usual = PRESETS["laser"]
    for preset in every_preset():
        own = [
            *([f"matrices {', '.join(preset.matrices)}"] if preset.matrices != usual.matrices else []),
            *([f"ρ = {_numbers(preset.rates)}"] if preset.rates != usual.rates else []),
            *([f"scorer {preset.scorer}"] if preset.scorer != usual.scorer else []),
            *([f"selector {preset.selector}"] if preset.selector != usual.selector else []),
        ]
        if own:
            print(printable(f"But {preset.name}: {'; '.join(own)}.", 2000))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
