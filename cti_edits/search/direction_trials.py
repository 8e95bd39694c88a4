"""The candidates of the method ``directions``: single singular values of many matrices get other values.

With no epochs, one gradient step on the N directions with the largest |g|, for every N and every f. With epochs, the
factors of N directions are fitted; N and how long are chosen by cross-validation on the calibration rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.errors import EditError
from cti_edits.linalg.directions import Directions, difference, with_difference
from cti_edits.linalg.lowrank import row_blocks
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import identity_of
from cti_edits.models.stored_names import AnyCheckpoint
from cti_edits.search.candidates import Candidate, MatrixId
from cti_edits.search.cross_validation import fitted_candidates, folds_of
from cti_edits.search.direction_gradients import BlockGradients, DirectionGradients, direction_gradients
from cti_edits.search.directions import MAX_SCALE, Direction, by_matrix, chosen_directions, step_scales
from cti_edits.search.edited_weights import shape_of
from cti_edits.search.explanation import Explanation, MatrixGradients, MatrixScore
from cti_edits.search.trials import SearchContext, Trial

Scales = Mapping[Direction, float]


@dataclass(frozen=True)
class Step(Candidate):
    """One gradient step on ``count`` singular values, which takes ``drop`` of the loss to first order."""

    count: int
    drop: float

    def __str__(self) -> str:
        return f"one step on {self.count} directions, f = {self.drop:g}"

    def cells(self) -> Mapping[str, str]:
        """See `Candidate.cells`."""
        return {"directions": str(self.count), "f": f"{self.drop:g}"}


def propose(context: SearchContext) -> DirectionTrials:
    """The edits of directions that a search tries.

    Raises:
        EditError: a weight, a loss or a gradient is not finite, or there is no direction or step that can be tried.
    """
    settings = context.settings
    gradients = direction_gradients(
        context.session,
        context.scored,
        settings.clusters[0],
        context.targets,
        context.cache,
        context.progress,
        folds_of(len(context.scored.gold), settings.seed) if settings.epochs else None,
        context.steps,
    )
    found = fitted_candidates(context, gradients) if settings.epochs else _steps(context, gradients)
    return DirectionTrials(context.targets, gradients, found)


def _steps(context: SearchContext, gradients: DirectionGradients) -> dict[Candidate, Scales]:
    """Every N with every f. What goes too far for a manifest is left out with a note."""
    found: dict[Candidate, Scales] = {}
    for count in context.settings.directions:
        chosen = chosen_directions(gradients, count)
        for drop in context.settings.drops:
            step, scales = Step(len(chosen), drop), step_scales(gradients, chosen, drop)
            if max(map(abs, scales.values())) <= MAX_SCALE:
                found[step] = scales
            else:
                context.progress.note(f"left out: {step}: a factor would be beyond {MAX_SCALE:,.0f}")
    if not found:
        raise EditError(f"drops: every step would have a factor beyond {MAX_SCALE:,.0f}; expected smaller ones")
    return found


class DirectionTrials:
    """Edits of directions; see `trials.Trials`."""

    def __init__(
        self,
        targets: Mapping[MatrixId, TargetMatrix],
        gradients: DirectionGradients,
        scales: Mapping[Candidate, Scales],
    ) -> None:
        """Take the matrices, their decompositions, and the factors of each candidate."""
        self._targets, self._gradients, self._scales = targets, gradients, scales
        self.candidates: Sequence[Candidate] = list(scales)

    def trials(self, wanted: Collection[Candidate]) -> Iterator[Trial]:
        """See `trials.Trials.trials`."""
        for candidate in self.candidates:
            if candidate in wanted:
                yield self._trial(candidate, lambda block: block)

    def as_applied(self, candidate: Candidate) -> Trial | None:
        """See `trials.Trials.as_applied`: decomposed again, as `apply.apply` does."""
        tried, applied = self._trial(candidate, lambda block: block), self._trial(candidate, lambda _: None)
        pairs = zip(tried.weights, applied.weights, strict=True)
        return None if all(torch.equal(one, other) for (_, one), (_, other) in pairs) else applied

    def matrix_edits(self, candidate: Candidate, checkpoint: AnyCheckpoint | None) -> tuple[DirectionsEdit, ...]:
        """See `trials.Trials.matrix_edits`."""
        found = by_matrix(self._gradients, self._scales[candidate])
        return tuple(matrix_edit(self._targets[place], blocks, checkpoint) for place, blocks in found.items())

    def explanation(self, best: Candidate | None) -> Explanation:
        """See `explanation.Explained`: Σ |g| of every matrix; σ and g of the one of which the winner changes most."""
        changed = Counter(one.target for one in ({} if best is None else self._scales[best]))
        sums = {
            place: sum(float(block.gradients.abs().sum()) for block in blocks)
            for place, blocks in self._gradients.blocks.items()
        }
        scores = tuple(
            MatrixScore(place, len(self._gradients.blocks[place]), -value, place in changed)
            for place, value in sums.items()
        )
        shown = max(sums, key=lambda place: (changed[place], sums[place]))
        return Explanation(
            "minus Σ |g| of all its directions", "changed by the winner", scores, self._matrix_gradients(shown, best)
        )

    def _matrix_gradients(self, place: MatrixId, best: Candidate | None) -> MatrixGradients:
        blocks = self._gradients.blocks[place]
        scales = {} if best is None else self._scales[best]
        return MatrixGradients(
            place,
            len(blocks),
            sigma=tuple(value for block in blocks for value in block.spectrum.values.tolist()),
            gradient=tuple(value for block in blocks for value in block.gradients.tolist()),
            changed=tuple(
                Direction(place, number, index) in scales
                for number, block in enumerate(blocks)
                for index in range(len(block.gradients))
            ),
        )

    def _trial(self, candidate: Candidate, known: Callable[[BlockGradients], BlockGradients | None]) -> Trial:
        """``known`` says whether the decomposition of a block is used that there is already."""
        weights = []
        for place, blocks in by_matrix(self._gradients, self._scales[candidate]).items():
            target = self._targets[place]
            parts = [
                block if chosen is None else _edited(block, chosen, known(gradients))
                for block, chosen, gradients in zip(
                    row_blocks(target.weight, len(blocks)), blocks, self._gradients.blocks[place], strict=True
                )
            ]
            weights.append((target, torch.cat(parts)))
        return Trial(candidate, weights, added_parameters=len(self._scales[candidate]))


def _edited(block: torch.Tensor, chosen: Directions, known: BlockGradients | None) -> torch.Tensor:
    return with_difference(block, difference(block, chosen, None if known is None else known.spectrum))


def matrix_edit(
    target: TargetMatrix, blocks: Sequence[Directions | None], checkpoint: AnyCheckpoint | None
) -> DirectionsEdit:
    """The manifest's entry for the directions of one matrix.

    Args:
        target: the matrix, unedited.
        blocks: of each row block its directions, which have σ; None for a block that stays.
        checkpoint: that the model was loaded from, if it was.
    """
    identity = identity_of(target, checkpoint)
    entries = [
        (number, *entry)
        for number, block in enumerate(blocks)
        if block is not None and block.sigma is not None
        for entry in zip(block.index, block.scale, block.sigma, strict=True)
    ]
    return DirectionsEdit(
        **target.place(),
        shape=shape_of(target),
        clusters=len(blocks),
        block=tuple(block for block, _, _, _ in entries) if len(blocks) > 1 else None,
        index=tuple(index for _, index, _, _ in entries),
        scale=tuple(scale for _, _, scale, _ in entries),
        sigma=tuple(sigma for _, _, _, sigma in entries),
        sha256=identity.sha256,
        frobenius_norm=identity.frobenius_norm,
        dtype=identity.dtype,
        tensor=identity.tensor,
        gguf_sha256=identity.gguf_sha256,
    )
