"""Stage 1: one gradient pass, and the σ-gradients of the last singular vectors of every matrix (equations 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from cti_edits.errors import EditError, FitError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.linalg.block_tails import BlockTail
from cti_edits.linalg.lowrank import BIG
from cti_edits.linalg.matrix_threads import matrix_threads
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import tensor_sha256
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.replay.sigma_gradients import Gradients, SingularVectors
from cti_edits.search.candidates import MatrixId
from cti_edits.search.scorers import BlockDirections

Directions = list[list[tuple[BlockDirections, ...]]]
"""For each target, for each K: the directions of every block that were looked at."""


class LastTriplets(NamedTuple):
    """The last singular triplets of every block of every matrix, for each K.

    Attributes:
        vectors: for each target, for each K, for each block.
        values: likewise, (directions,) float64 on the CPU, in the order of the vectors.
    """

    vectors: list[list[list[SingularVectors]]]
    values: list[list[list[torch.Tensor]]]


def sigma_gradients(
    session: Session,
    calibration: CalibrationSet,
    clusters: Sequence[int],
    targets: Mapping[MatrixId, TargetMatrix],
    cache: SpectrumCache,
    progress: Progress,
) -> Directions:
    """σ_i and g_i of the last singular values of every block of every matrix, for each K, from one gradient pass.

    Args:
        session: of the model.
        calibration: the examples that the gradients are taken on.
        clusters: the K.
        targets: the matrices.
        cache: where decompositions come from.
        progress: told about both parts.

    Returns:
        For each target, for each K, for each block: its directions.

    Raises:
        EditError: a weight, a loss or a gradient is not finite; the message names the matrix or the example.
    """
    triplets = last_triplets(clusters, targets, cache, progress)
    with progress.phase("gradients", len(calibration.gold)) as advance:
        gradients = session.sigma_gradients(list(targets.values()), triplets.vectors, calibration.gold, advance)
    flat = [[block for blocks in ways for block in blocks] for ways in gradients]
    note_unseen_experts(dict(zip(targets, flat, strict=True)), progress)
    return with_values(gradients, triplets.values)


def note_unseen_experts(gradients: Mapping[MatrixId, Sequence[torch.Tensor]], progress: Progress) -> None:
    """Say which experts no token of the rows went to: their gradients are 0, and so are their scores.

    Args:
        gradients: of each matrix, g of all its directions, in parts.
        progress: is told, once, if there are such experts.
    """
    unseen = [
        place
        for place, parts in gradients.items()
        if place.expert is not None and not any(bool(part.any()) for part in parts)
    ]
    if unseen:
        first = "; ".join(map(str, unseen[:3])) + ("; …" if len(unseen) > 3 else "")
        progress.note(
            f"no token of these rows went to the experts of {len(unseen)} matrices, whose score is 0: {first}"
        )


def with_values(gradients: Gradients, values: Sequence[Sequence[Sequence[torch.Tensor]]]) -> Directions:
    """Gradients beside the singular values that they are by."""
    return [
        [
            tuple(BlockDirections(S, g) for S, g in zip(blocks, found, strict=True))
            for blocks, found in zip(ways, of_target, strict=True)
        ]
        for ways, of_target in zip(values, gradients, strict=True)
    ]


def last_triplets(
    clusters: Sequence[int], targets: Mapping[MatrixId, TargetMatrix], cache: SpectrumCache, progress: Progress
) -> LastTriplets:
    """The last singular triplets of the row blocks of every matrix, for each K.

    Raises:
        FitError: a weight is not finite; the message names it.
    """

    def tails_of(target: TargetMatrix) -> list[tuple[list[SingularVectors], list[torch.Tensor]]]:
        try:
            tails = cache.tails(target.weight, tensor_sha256(target.hashed), clusters)
        except EditError as error:
            raise FitError(f"{target.module}: {error}") from None
        return [(_vectors(tails[number], target), [tail.S.cpu() for tail in tails[number]]) for number in clusters]

    triplets = LastTriplets([], [])
    small = all(t.weight.device.type == "cpu" and t.weight.numel() <= BIG for t in targets.values())
    with progress.phase("decompositions", len(targets)) as advance, matrix_threads(None if small else 1) as run:
        # One big matrix keeps all threads busy, and two take the memory of two.
        for found in run(tails_of, targets.values()):
            triplets.vectors.append([vectors for vectors, _ in found])
            triplets.values.append([values for _, values in found])
            advance(1)
    return triplets


def _vectors(tails: Sequence[BlockTail], target: TargetMatrix) -> list[SingularVectors]:
    """In the precision that they are used in: those of every matrix and K together take gigabytes."""
    dtype = torch.float64 if target.parameter.dtype == torch.float64 else torch.float32
    return [SingularVectors(tail.U.to(dtype), tail.V.to(dtype)) for tail in tails]
