"""``cti-edits presets``."""

from __future__ import annotations

from cti_edits.report.listing import print_listing


def presets() -> None:
    """List the paper's nine systems with their search spaces, for search --preset."""
    from cti_edits.models.architectures import Kind
    from cti_edits.search.cost import DRAWN
    from cti_edits.search.presets import PRESETS, Preset
    from cti_edits.search.settings import RATES, Part

    def on(part: Part) -> str:
        return f"{DRAWN} drawn" if part == "sample" else "first 20 %"

    def by_kind(causal: str, masked: str) -> str:
        return causal if causal == masked else f"{causal} (masked: {masked})"

    def matrices(preset: Preset, kind: Kind) -> str:
        kept = preset.top_q[kind]
        return "all" if kept is None else f"top {kept}"

    def levels(preset: Preset, kind: Kind) -> str:
        return ",".join(map(str, preset.clusters[kind]))

    rows = []
    for preset in PRESETS.values():
        scored = preset.top_q["causal"] is not None
        rows.append(
            (
                preset.name,
                by_kind(matrices(preset, "causal"), matrices(preset, "masked")),
                on(preset.gradients_on) if scored else "none",
                by_kind(levels(preset, "causal"), levels(preset, "masked")),
                on(preset.evaluated_on),
                preset.partition,
            )
        )
    print_listing(("preset", "matrices tried", "gradients on", "K", "evaluated on", "partition"), rows)
    print(
        f"Each tries U_in and U_out of every layer, and ρ = {', '.join(f'{rho:g}' for rho in RATES)}. "
        '"First 20 %" is the validation part, from which the 100 are drawn; "masked": masked language models.'
    )
