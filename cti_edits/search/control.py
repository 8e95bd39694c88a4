"""The random control of an edit: the same matrices, and as many ranks or singular values of each, drawn at random.

It tells how much of what an edit does comes from where it was made, and how much from changing that much at all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit
from cti_edits.artifact.ranks import ROW_BLOCKS, partition_rows
from cti_edits.artifact.records import RandomControl
from cti_edits.harness.evaluation import Evaluation, NotFiniteError
from cti_edits.linalg.block_spectra import BlockSpectrum, block_spectra
from cti_edits.linalg.lowrank import row_selector
from cti_edits.linalg.random_edits import randomly_changed, randomly_cut
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix, bind
from cti_edits.models.identity import tensor_sha256
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.search.log_values import evaluation_from, evaluation_json
from cti_edits.search.search_log import Steps


@dataclass(frozen=True)
class RandomDraws:
    """How random edits are drawn.

    Attributes:
        count: how many.
        seed: of the draws.
        cache: where decompositions come from.
    """

    count: int
    seed: int
    cache: SpectrumCache


def has_control(edit: Edit) -> bool:
    """Whether there is something to draw: an edit of matrices, each by a method that comes along."""
    return bool(edit.edits) and all(isinstance(one, BlockSvdEdit | DirectionsEdit) for one in edit.edits)


def random_control(
    session: Session,
    edit: Edit,
    draws: RandomDraws,
    rows: int,
    evaluate: Callable[[], Evaluation],
    progress: Progress,
    steps: Steps | None = None,
) -> RandomControl | None:
    """Evaluate random edits as large as ``edit``; the model has its own weights when this returns or raises.

    Args:
        session: of the unedited model.
        edit: one for which `has_control` is true.
        draws: how they are drawn.
        rows: how many rows ``evaluate`` is about.
        evaluate: evaluates the model as it is.
        progress: told about each draw.
        steps: of a search log, on these rows and of this edit.

    Returns:
        Their figures; None where every draw has a loss that is not finite.
    """
    targets = bind(edit, session.lm.model, verify=False)
    steps = steps or Steps()

    def evaluated(number: int) -> Evaluation:
        generator = torch.Generator().manual_seed(draws.seed * draws.count + number)
        with contextlib.ExitStack() as replaced:
            # All of them are made before the first one is put in its place: two may be of one weight.
            weights = [
                _random_weight(target, one, draws.cache, generator)
                for target, one in zip(targets, edit.edits, strict=True)
            ]
            for target, weight in zip(targets, weights, strict=True):
                replaced.enter_context(session.replaced_weight(target, weight))
            return evaluate()

    found: list[Evaluation] = []
    with progress.phase("random control", draws.count) as advance:
        for number in range(draws.count):
            try:
                found.append(
                    steps.once(
                        "control",
                        {"draw": number},
                        functools.partial(evaluated, number),
                        evaluation_json,
                        evaluation_from,
                    )
                )
            except NotFiniteError as error:
                progress.note(f"random control: a draw is left out: {error}")
            advance(1)
    if not found:
        return None
    return RandomControl(rows, tuple(one.accuracy for one in found), tuple(one.nll for one in found))


def _random_weight(
    target: TargetMatrix, one: MatrixEdit, cache: SpectrumCache, generator: torch.Generator
) -> torch.Tensor:
    """A matrix with as much of it changed as by its edit, in its own dtype."""
    weight = target.weight.detach()
    edited = weight.clone()
    if isinstance(one, BlockSvdEdit):
        for (rows, spectrum), rank in zip(
            _blocks(target, one.clusters, one.partition, cache), one.block_ranks, strict=True
        ):
            edited[rows] = randomly_cut(weight[rows], spectrum, rank, generator)
        return edited
    assert isinstance(one, DirectionsEdit)
    changes = _changes(one)
    for number, (rows, spectrum) in enumerate(_blocks(target, one.clusters, ROW_BLOCKS, cache)):
        if changes[number]:
            edited[rows] = randomly_changed(weight[rows], spectrum, changes[number], generator)
    return edited


def _changes(one: DirectionsEdit) -> list[list[float]]:
    """σ_i' − σ_i of each direction, row block by row block."""
    found: list[list[float]] = [[] for _ in range(one.clusters)]
    for (block, _), scale, sigma in zip(one.directions, one.scale, one.sigma, strict=True):
        found[block].append((scale - 1) * sigma)
    return found


def _blocks(
    target: TargetMatrix, clusters: int, partition: str, cache: SpectrumCache
) -> Iterator[tuple[slice | list[int], BlockSpectrum]]:
    """The rows of each block, and its decomposition."""
    weight = target.weight.detach()
    parts: Sequence[Sequence[int]] = partition_rows(weight.shape[0], clusters, partition)
    if partition == ROW_BLOCKS:
        spectra = cache.spectra(weight, tensor_sha256(target.hashed), clusters)
        yield from zip(map(row_selector, parts), spectra, strict=True)
        return
    for rows in parts:
        selector = row_selector(rows)
        yield selector, block_spectra(weight[selector], 1)[0]
