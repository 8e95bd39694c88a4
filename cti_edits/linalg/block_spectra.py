"""One decomposition of a row block that serves every ρ: truncation, singular triplets, ties. Tensors only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cti_edits.artifact.ranks import ROW_BLOCKS, partition_rows
from cti_edits.errors import EditError
from cti_edits.linalg.gram import accurate_at, gram_matrix, projected, row_block_grams, squares_error
from cti_edits.linalg.lowrank import (
    BlockDecomposition,
    assemble,
    check_decomposable,
    check_ranks,
    decompose,
    row_blocks,
)

SKEW = 1e-6
"""How far left singular vectors from a Gram matrix may be from orthonormal: ‖UᵀU - I‖_F."""


@dataclass
class BlockSpectrum:
    """What every rank of one row block W_k (m_k, n) is cut from: one decomposition, r_k = min(m_k, n).

    Attributes:
        shape: (m_k, n).
        S: (r_k,), singular values, descending, float64.
        vectors: (r_k, r_k), singular vectors of the short side in the order of ``S``, float64: right ones if m_k ≥ n,
            else left ones.
        exact: the block's singular value decomposition, once it was needed. ``S`` and ``vectors`` are then from the
            Gram matrix all the same, unless the block was decomposed from the first.
    """

    shape: tuple[int, int]
    S: torch.Tensor
    vectors: torch.Tensor
    exact: BlockDecomposition | None = None

    def decomposed(self, block: torch.Tensor) -> BlockDecomposition:
        """The float64 singular value decomposition of ``block``, the one that this is of; computed once and kept."""
        if self.exact is None:
            (self.exact,) = decompose(block, 1)
        return self.exact

    @property
    def values(self) -> torch.Tensor:
        """(r_k,), the best singular values that are there."""
        return self.S if self.exact is None else self.exact.S


def block_spectra(weight: torch.Tensor, clusters: int) -> tuple[BlockSpectrum, ...]:
    """A `BlockSpectrum` for each of the ``clusters`` row blocks of ``weight``.

    From the smaller Gram matrix of each block; of a float64 weight, for whose truncation that is never as exact, from
    its singular value decomposition.

    Args:
        weight: (m, n), any floating dtype.
        clusters: K, 1 ≤ K ≤ m.

    Raises:
        EditError: a value is not finite, K is out of range, or ``weight`` is no matrix.
    """
    weight = weight.detach()
    check_decomposable(weight)
    blocks = row_blocks(weight, clusters)
    if weight.dtype == torch.float64:
        return tuple(_of_decomposition(decompose(block, 1)[0]) for block in blocks)
    spectra = {
        index: _of_gram(gram, (blocks[index].shape[0], blocks[index].shape[1]))
        for _, index, gram in row_block_grams(weight, (clusters,))
    }
    return tuple(spectra[index] for index in range(clusters))


def _of_gram(gram: torch.Tensor, shape: tuple[int, int]) -> BlockSpectrum:
    squares, vectors = torch.linalg.eigh(gram)
    # Rounding leaves some of the squares that should be zero below it.
    return BlockSpectrum(shape, squares.clamp(min=0.0).sqrt().flip(0), vectors.flip(1))


def _of_decomposition(exact: BlockDecomposition) -> BlockSpectrum:
    shape = exact.U.shape[0], exact.Vh.shape[1]
    return BlockSpectrum(shape, exact.S, exact.Vh.mT if shape[0] >= shape[1] else exact.U, exact)


def truncate_with(weight: torch.Tensor, spectra: Sequence[BlockSpectrum], ranks: Sequence[int]) -> torch.Tensor:
    """``weight`` (m, n) with its row blocks cut to ``ranks``, in its own dtype: what `lowrank.truncate` gives.

    Within the bound of `gram.truncated_by_gram`, which is tested for each block and rank as it is there: projected on
    the fewer of the vectors before the cut and those after it, or from the block's singular value decomposition, whose
    result then has the very bits of `lowrank.truncate`. A block that loses no rank keeps its bits.

    Args:
        weight: (m, n), the matrix that ``spectra`` are of, with the values that it had then.
        spectra: of `block_spectra`.
        ranks: one a block.

    Raises:
        EditError: the spectra are of a weight of another shape, or a rank is outside 1..r_k.
    """
    weight = weight.detach()
    blocks = _blocks(weight, spectra)
    check_ranks([len(spectrum.S) for spectrum in spectra], ranks)
    return torch.cat(
        [_truncated(block, spectrum, rank) for block, spectrum, rank in zip(blocks, spectra, ranks, strict=True)]
    )


def _blocks(weight: torch.Tensor, spectra: Sequence[BlockSpectrum]) -> tuple[torch.Tensor, ...]:
    blocks = row_blocks(weight, len(spectra))
    for index, (block, spectrum) in enumerate(zip(blocks, spectra, strict=True)):
        if tuple(block.shape) != spectrum.shape:
            raise EditError(f"block {index}: its spectrum is of {spectrum.shape}, the block has {tuple(block.shape)}")
    return blocks


def _truncated(block: torch.Tensor, spectrum: BlockSpectrum, rank: int) -> torch.Tensor:
    if rank == len(spectrum.S):
        return block
    if not _accurate(spectrum, rank, block.dtype):
        return assemble([spectrum.decomposed(block)], [rank], block.dtype)
    leading = 2 * rank <= len(spectrum.S)
    basis = spectrum.vectors[:, :rank] if leading else spectrum.vectors[:, rank:]
    return projected(block, basis, leading)


def _accurate(spectrum: BlockSpectrum, rank: int, dtype: torch.dtype) -> bool:
    """Whether the vectors are accurate enough for a cut after ``rank`` of them."""
    if dtype == torch.float64:
        return False
    squares = spectrum.S.square()
    above, below = float(squares[rank - 1]), float(squares[rank])
    error = squares_error(spectrum.shape, float(squares[0]))
    return accurate_at(above, below, error, min(rank, len(squares) - rank), float(squares[:rank].sum()), dtype)


def sigma_triplets(weight: torch.Tensor, spectra: Sequence[BlockSpectrum]) -> tuple[BlockDecomposition, ...]:
    """All singular triplets of every row block in float64, for `spectrum.sigma_gradients`.

    Of a tall block (a wide one is taken transposed) V is there; σ_i = ‖W v_i‖ and u_i = W v_i / σ_i. So for any cut
    Σ_{i>j} σ_i g_i = Σ (W v_i)ᵀ G v_i = ⟨W V_c V_cᵀ, G⟩ depends on the span of the v_i alone, and nothing is divided by
    a small σ_i. Single g_i of values that lie close together are as accurate as their vectors can be told apart. What
    division by σ_i costs shows in UᵀU: where it differs from I by more than `SKEW`, or a σ_i is 0, the block's
    singular value decomposition is taken.

    Args:
        weight: (m, n), the matrix that ``spectra`` are of, with the values that it had then.
        spectra: of `block_spectra`.

    Raises:
        EditError: the spectra are of a weight of another shape.
    """
    blocks = _blocks(weight.detach(), spectra)
    return tuple(_triplets(block, spectrum) for block, spectrum in zip(blocks, spectra, strict=True))


def _triplets(block: torch.Tensor, spectrum: BlockSpectrum) -> BlockDecomposition:
    if spectrum.exact is not None:
        return spectrum.exact
    tall = block.shape[0] >= block.shape[1]
    wide = block.double()
    other = (wide if tall else wide.mT) @ spectrum.vectors
    S = torch.linalg.vector_norm(other, dim=0)
    other /= S
    skew = gram_matrix(other).tril()
    skew.diagonal().sub_(1.0)
    # Not "greater": a NaN, of a singular value of zero, is not accurate.
    if not math.sqrt(2) * float(torch.linalg.matrix_norm(skew)) <= SKEW:
        return spectrum.decomposed(block)
    order = S.argsort(descending=True, stable=True)
    S, other, vectors = S[order], other[:, order], spectrum.vectors[:, order]
    return BlockDecomposition(other, S, vectors.mT) if tall else BlockDecomposition(vectors, S, other.mT)


def tied(spectrum: BlockSpectrum, rank: int) -> bool:
    """Whether σ_j and σ_{j+1} at a cut after ``rank`` = j are equal as far as float64 can tell: Ŵ is then not unique.

    A float64 decomposition gives the singular values of a matrix that is off by some units of σ_1, at most
    4 √(m + n) 2⁻⁵² σ_1 (as δ in `gram.truncated_by_gram`); values that differ by less may be the same. If both are zero
    to that measure, Ŵ is the block itself, and that is no tie.

    A spectrum that holds no singular value decomposition knows squares alone, and says that σ_j ties if λ_j and
    λ_{j+1} are within 2δ: values below √δ count as zero then. `truncate_with` leaves no such cut without a
    decomposition; after it the answer is that of `tied_blocks`.
    """
    if rank >= len(spectrum.S):
        return False
    values = spectrum.values
    if spectrum.exact is None:
        squares = values.square()
        return _within(squares, rank, 2 * squares_error(spectrum.shape, float(squares[0])))
    return _within(values, rank, squares_error(spectrum.shape, float(values[0])))


def _within(values: torch.Tensor, rank: int, margin: float) -> bool:
    above, below = float(values[rank - 1]), float(values[rank])
    return above > margin and above - below <= margin


def tied_blocks(weight: torch.Tensor, ranks: Sequence[int], partition: str = ROW_BLOCKS) -> tuple[int, ...]:
    """The blocks of an edit whose truncation is not unique, for the threshold see `tied`.

    Eigenvalues of the smaller Gram matrix rule most cuts out; where they do not, singular values decide.

    Args:
        weight: (m, n), any floating dtype.
        ranks: one a block.
        partition: which rows make a block; see `ranks.partition_rows`.

    Returns:
        Their indices, ascending.

    Raises:
        EditError: a value is not finite, the partition does not fit, or a rank is outside 1..r_k.
    """
    weight = weight.detach()
    check_decomposable(weight)
    parts = partition_rows(weight.shape[0], len(ranks), partition)
    check_ranks([min(len(rows), weight.shape[1]) for rows in parts], ranks)
    return tuple(
        index
        for index, (rows, rank) in enumerate(zip(parts, ranks, strict=True))
        if rank < min(len(rows), weight.shape[1]) and _ties(weight[list(rows)], rank)
    )


def _ties(block: torch.Tensor, rank: int) -> bool:
    # The squares of a float64 weight may leave the range of float64.
    if block.dtype != torch.float64:
        squares = torch.linalg.eigvalsh(gram_matrix(block if block.shape[0] >= block.shape[1] else block.mT)).flip(0)
        # σ within the margin of `tied` are squares within 2 σ_1 times it, which is 2δ; each square may be off by δ.
        if float(squares[rank - 1] - squares[rank]) > 4 * squares_error(block.shape, float(squares[0])):
            return False
    values = torch.linalg.svdvals(block.double())
    return _within(values, rank, squares_error(block.shape, float(values[0])))
