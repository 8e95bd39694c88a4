"""What a search costs in forward passes of one example: as the paper counts (DESIGN section 7), and here. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.errors import EditError
from cti_edits.harness.splits import VALIDATION_SHARE, validation_count
from cti_edits.models.architectures import Kind
from cti_edits.search.presets import PRESETS, Preset
from cti_edits.search.settings import CONTROL_DRAWS, GUARD_PIECES, HELD_OUT, Part, fold_count

GRADIENT_PASS = 2.5
"""A forward and backward pass in forward passes, as the paper counts it."""


@dataclass(frozen=True)
class Cost:
    """Forward passes of one example, by what they are for.

    Attributes:
        gradients: forward and backward passes for the scores, or for what each singular value is worth.
        candidates: evaluations of every candidate.
        unedited: the evaluation of the unedited model on the same examples.
        test: the measurement on the test part.
        fitting: forward and backward passes that fit factors, and what folds are held out for, at most.
        control: the measurement of random edits on the same rows.
        guard: the comparison of base and edit on other text, at most.
    """

    gradients: float
    candidates: float
    unedited: float
    test: float
    fitting: float = 0.0
    control: float = 0.0
    guard: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.gradients + self.fitting + self.candidates + self.unedited + self.test + self.control + self.guard


def candidate_count(preset: Preset, kind: Kind, layers: int) -> int:
    """How many edits a search with ``preset`` evaluates on a model of ``layers`` blocks.

    Raises:
        EditError: the method is a plugin's, which alone knows.
    """
    if not preset.cuts_ranks:
        return _directions_count(preset)
    every = layers * len(preset.matrices)
    top_q = preset.top_q[kind]
    # The paper's formulas take the top q as they are, also where a model has fewer matrices than that.
    return (every if top_q is None else top_q) * len(preset.clusters[kind]) * len(preset.rates)


def paper_cost(preset: Preset, kind: Kind, dataset_size: int, layers: int) -> Cost:
    """What the paper counts: a gradient pass for each K, and the winner alone on the test part."""
    evaluated = _examples(preset, preset.evaluated_on, dataset_size)
    return Cost(
        gradients=_gradient_pass(preset, kind, dataset_size) * len(preset.clusters[kind]),
        candidates=candidate_count(preset, kind, layers) * evaluated,
        unedited=evaluated,
        test=dataset_size - _examples(preset, "validation", dataset_size),
        fitting=_fitting(preset, _examples(preset, preset.gradients_on, dataset_size)),
    )


def cost_here(preset: Preset, kind: Kind, dataset_size: int, layers: int, held_out: int = HELD_OUT) -> Cost:
    """What the search costs here.

    One gradient pass serves every K. The base model and random edits are measured on the same test rows as the winner,
    which the paper's count leaves out; ``held_out`` says on how many, and with 0 no test row is looked at. The guard is
    counted, too: up to `GUARD_PIECES` pieces of text, read by both models. A pass counts as one however little
    of the model it runs: what replaying and stopping early save shows in seconds (benchmarks/), not here.
    """
    tested = min(held_out, dataset_size - validation_count(dataset_size))
    validation = validation_count(dataset_size)
    evaluated = preset.samples if preset.evaluated_on == "sample" else validation
    scored = preset.samples if preset.gradients_on == "sample" else validation
    return Cost(
        gradients=GRADIENT_PASS * scored if preset.takes_gradients(kind) else 0.0,
        candidates=_candidates_here(preset, kind, layers) * evaluated,
        unedited=evaluated,
        test=2 * tested,
        control=CONTROL_DRAWS * tested,
        guard=2 * GUARD_PIECES,
        fitting=_fitting(preset, scored),
    )


def speed_up(preset: Preset, kind: Kind, dataset_size: int, layers: int) -> float:
    """How many times fewer forward passes than `laser` needs, both as the paper counts."""
    reference = paper_cost(PRESETS["laser"], kind, dataset_size, layers)
    return reference.total / paper_cost(preset, kind, dataset_size, layers).total


def as_printed(value: float) -> str:
    """A speed-up with the paper's digits: two decimals below ten, one from there on.

    Rounded to two decimals first, as the paper seems to have done: it prints 10.9 for 10.847, and 90.0 for 89.947.
    """
    hundredths = Decimal(value).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(hundredths if hundredths < 10 else hundredths.quantize(Decimal("0.1"), ROUND_HALF_UP))


def _candidates_here(preset: Preset, kind: Kind, layers: int) -> int:
    if not preset.cuts_ranks:
        return _directions_count(preset)
    every = layers * len(preset.matrices)
    kept = every if preset.top_q[kind] is None else min(preset.top_q[kind] or 0, every)
    return kept * len(preset.clusters[kind]) * len(preset.rates)


def _directions_count(preset: Preset) -> int:
    if preset.method != DirectionsEdit.METHOD:
        raise EditError(f"{preset.name}: only the plugin of the method {preset.method} knows what it tries")
    return 1 if preset.epochs else len(preset.directions) * len(preset.drops)


def fitting_passes(numbers: Sequence[int], epochs: int, rows: float) -> float:
    """Of a fit: every N on all folds but one, and measured on that one after every epoch; the best on all rows.

    Args:
        numbers: the numbers N of directions.
        epochs: how many at most.
        rows: the examples.
    """
    last = epochs * GRADIENT_PASS * rows
    folds = fold_count(int(rows))
    if folds == 1:
        return last
    return len(numbers) * epochs * (GRADIENT_PASS * rows * (folds - 1) + rows) + last


def _fitting(preset: Preset, rows: float) -> float:
    if preset.method != DirectionsEdit.METHOD or not preset.epochs:
        return 0.0
    return fitting_passes(preset.directions, preset.epochs, rows)


def _gradient_pass(preset: Preset, kind: Kind, dataset_size: int) -> float:
    rows = _examples(preset, preset.gradients_on, dataset_size)
    return GRADIENT_PASS * rows if preset.takes_gradients(kind) else 0.0


def _examples(preset: Preset, part: Part, dataset_size: int) -> float:
    return preset.samples if part == "sample" else VALIDATION_SHARE * dataset_size
