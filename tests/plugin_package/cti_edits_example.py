"""A plugin of cti-edits: a scorer, a method, and a preset of each."""

from __future__ import annotations

from cti_edits.hookspecs import hookimpl
from cti_edits.methods.method import MethodPart
from cti_edits.search.presets import Preset
from cti_edits.search.scorers import MatrixDirections, Scorer


def last_layers(matrix: MatrixDirections) -> float:
    """Minus the layer: those near the output first."""
    return -float(matrix.target.layer)


@hookimpl
def scorers() -> list[Scorer]:
    """The last layers first."""
    return [Scorer("last-layers", "the last layers first", last_layers)]


@hookimpl
def methods() -> list[MethodPart]:
    """A matrix times a number. The module is imported when the method is used."""
    module = "cti_edits_example_scaled"
    return [MethodPart("scaled", "a matrix times a number", module, f"{module}:propose")]


@hookimpl
def presets() -> list[Preset]:
    """Two cuts of the last layer's output matrix, and every output matrix halved and doubled."""
    return [
        Preset(
            "example-last",
            top_q={"causal": 1, "masked": 1},
            gradients_on="sample",
            clusters={"causal": (1,), "masked": (1,)},
            evaluated_on="sample",
            scorer="last-layers",
            samples=3,
            rates=(0.5, 0.25),
            matrices=("U_out",),
        ),
        Preset(
            "example-scaled",
            top_q={"causal": None, "masked": None},
            gradients_on="sample",
            clusters={"causal": (1,), "masked": (1,)},
            evaluated_on="sample",
            samples=3,
            matrices=("U_out",),
            method="scaled",
        ),
    ]
