"""Stage 1 of a search of directions: g of *all* singular values of every matrix, by one gradient pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cti_edits.errors import EditError, FitError
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.linalg.block_spectra import BlockSpectrum
from cti_edits.linalg.lowrank import row_blocks
from cti_edits.linalg.spectrum_cache import SpectrumCache
from cti_edits.models.apply import TargetMatrix
from cti_edits.models.identity import tensor_sha256
from cti_edits.progress import Progress
from cti_edits.replay.session import Session
from cti_edits.replay.sigma_gradients import SingularVectors
from cti_edits.search.candidates import MatrixId
from cti_edits.search.gradients import note_unseen_experts

AT_ONCE = 4 << 30
"""Bytes of singular vectors that one gradient pass holds. Larger models take several passes."""


@dataclass(frozen=True)
class BlockGradients:
    """All singular directions of a row block.

    Attributes:
        spectrum: σ_i and the singular vectors of the short side.
        gradients: g_i = ∂L/∂σ_i, (r_k,) float64 on the CPU; see `sigma_gradients`.
    """

    spectrum: BlockSpectrum
    gradients: torch.Tensor


@dataclass(frozen=True)
class DirectionGradients:
    """σ_i and g_i of all directions of some matrices.

    Attributes:
        blocks: the row blocks of each matrix.
        loss: of the unedited model, the mean over the examples of the mean NLL of the gold answer's tokens, nats.
        folds: which examples, by their place, are held out together in cross-validation; one of all if there is none.
        by_fold: of each fold, each matrix and each row block, g_i on its examples; nothing if there is one fold.
    """

    blocks: Mapping[MatrixId, Sequence[BlockGradients]]
    loss: float
    folds: Sequence[Sequence[int]] = ((),)
    by_fold: Sequence[Mapping[MatrixId, Sequence[torch.Tensor]]] = ()

    def without(self, held_out: int) -> DirectionGradients:
        """The gradients on the examples of all folds but one; its ``loss`` stays that of all examples."""
        sizes = [len(fold) for fold in self.folds]
        rest = [number for number in range(len(sizes)) if number != held_out]
        blocks = {
            place: [
                BlockGradients(
                    one.spectrum,
                    _mean([self.by_fold[number][place][k] for number in rest], [sizes[number] for number in rest]),
                )
                for k, one in enumerate(of_matrix)
            ]
            for place, of_matrix in self.blocks.items()
        }
        return DirectionGradients(blocks, self.loss)


def direction_gradients(
    session: Session,
    calibration: CalibrationSet,
    clusters: int,
    targets: Mapping[MatrixId, TargetMatrix],
    cache: SpectrumCache,
    progress: Progress,
    folds: Sequence[Sequence[int]] | None = None,
) -> DirectionGradients:
    """σ_i and g_i of all directions of every matrix.

    Args:
        session: of the model.
        calibration: the examples that the gradients are taken on.
        clusters: K.
        targets: the matrices.
        cache: where decompositions come from.
        progress: told about both parts.
        folds: the examples, by their place, in parts whose gradients are wanted one by one, too.

    Raises:
        EditError: a weight, a loss or a gradient is not finite; the message names the matrix or the example.
    """
    spectra: dict[MatrixId, Sequence[BlockSpectrum]] = {}
    with progress.phase("decompositions", len(targets)) as advance:
        for place, target in targets.items():
            try:
                spectra[place] = cache.spectra(target.weight, tensor_sha256(target.hashed), clusters)
            except EditError as error:
                raise FitError(f"{target.module}: {error}") from None
            advance(1)
    parts = folds or [range(len(calibration.gold))]
    by_fold: list[dict[MatrixId, Sequence[torch.Tensor]]] = [{} for _ in parts]
    losses: dict[int, float] = {}
    groups = list(_groups(targets))
    with progress.phase("gradients", len(groups) * len(calibration.gold)) as advance:
        for group in groups:
            vectors = [[singular_vectors(targets[place], spectra[place])] for place in group]
            chosen = [targets[place] for place in group]
            for found, part in zip(by_fold, parts, strict=True):
                requests = [calibration.gold[row] for row in part]
                gradients = session.sigma_gradients(chosen, vectors, requests, advance, note_loss=losses.__setitem__)
                found.update({place: blocks for place, (blocks,) in zip(group, gradients, strict=True)})
    blocks = {
        place: [
            BlockGradients(spectrum, _mean([found[place][number] for found in by_fold], [len(part) for part in parts]))
            for number, spectrum in enumerate(of_matrix)
        ]
        for place, of_matrix in spectra.items()
    }
    note_unseen_experts({place: [one.gradients for one in found] for place, found in blocks.items()}, progress)
    loss = math.fsum(losses.values()) / len(losses)
    return DirectionGradients(blocks, loss, parts, by_fold if folds else ())


def _mean(values: Sequence[torch.Tensor], counts: Sequence[int]) -> torch.Tensor:
    """The mean over all examples, from those over parts of them."""
    weighted = [value * (count / sum(counts)) for value, count in zip(values, counts, strict=True)]
    return torch.stack(weighted).sum(dim=0)


def singular_vectors(
    target: TargetMatrix, spectra: Sequence[BlockSpectrum], chosen: Sequence[Sequence[int]] | None = None
) -> list[SingularVectors]:
    """U_k and V_k of every row block, in float32, or float64 for a float64 weight.

    The side that a spectrum has not is W V / σ, or Wᵀ U / σ: of a σ near 0 it is noise, as is the true one.

    Args:
        target: the matrix.
        spectra: of its row blocks.
        chosen: of each block, which directions; all if None.
    """
    dtype = torch.float64 if target.parameter.dtype == torch.float64 else torch.float32
    blocks = row_blocks(target.weight, len(spectra))
    found = []
    for number, (block, spectrum) in enumerate(zip(blocks, spectra, strict=True)):
        which = slice(None) if chosen is None else list(chosen[number])
        basis = spectrum.vectors[:, which]
        sizes = spectrum.values[which].clamp(min=torch.finfo(torch.float64).tiny)
        if block.shape[0] >= block.shape[1]:
            found.append(SingularVectors(((block.double() @ basis) / sizes).to(dtype), basis.to(dtype)))
        else:
            found.append(SingularVectors(basis.to(dtype), ((block.double().T @ basis) / sizes).to(dtype)))
    return found


def _groups(targets: Mapping[MatrixId, TargetMatrix]) -> Iterator[list[MatrixId]]:
    """The matrices in groups whose singular vectors are held at once."""
    group: list[MatrixId] = []
    held = 0
    for place, target in targets.items():
        rows, columns = target.weight.shape
        size = (rows + columns) * min(rows, columns) * (8 if target.parameter.dtype == torch.float64 else 4)
        if group and held + size > AT_ONCE:
            yield group
            group, held = [], 0
        group.append(place)
        held += size
    if group:
        yield group
