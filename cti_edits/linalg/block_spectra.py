"""One decomposition of a row block that serves every rank: truncation, and ties of singular values at the cut."""

from __future__ import annotations

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


@dataclass
class BlockSpectrum:
    """A decomposition of one row block W_k (m_k, n), of which truncations to any rank are made; r_k = min(m_k, n).

    Attributes:
        shape: (m_k, n).
        S: (r_k,), singular values, descending, float64. They are square roots of eigenvalues of the smaller Gram
            matrix, unless `block_spectra` made a singular value decomposition.
        vectors: (r_k, r_k), singular vectors of the short side in the order of ``S``, float64: right ones if m_k ≥ n,
            else left ones.
        exact: the block's singular value decomposition, once it was needed.
    """

    shape: tuple[int, int]
    S: torch.Tensor
    vectors: torch.Tensor
    exact: BlockDecomposition | None = None

    def decomposed(self, block: torch.Tensor) -> BlockDecomposition:
        """The float64 singular value decomposition of ``block``, which must be W_k; computed once and kept."""
        if self.exact is None:
            (self.exact,) = decompose(block, 1)
        return self.exact

    @property
    def values(self) -> torch.Tensor:
        """(r_k,) singular values, float64: of the singular value decomposition, if there is one, else ``S``."""
        return self.S if self.exact is None else self.exact.S


def block_spectra(weight: torch.Tensor, clusters: int) -> tuple[BlockSpectrum, ...]:
    """A `BlockSpectrum` for each of the ``clusters`` row blocks of ``weight``.

    Each is made from the block's smaller Gram matrix. Where the weight is float64, for which truncation by that is
    never exact enough, it is made from the block's singular value decomposition.

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
        return tuple(spectrum_of(decompose(block, 1)[0]) for block in blocks)
    spectra = {
        index: _from_gram(gram, (blocks[index].shape[0], blocks[index].shape[1]))
        for _, index, gram in row_block_grams(weight, (clusters,))
    }
    return tuple(spectra[index] for index in range(clusters))


def _from_gram(gram: torch.Tensor, shape: tuple[int, int]) -> BlockSpectrum:
    squares, vectors = torch.linalg.eigh(gram)
    # Rounding leaves some of the squares that should be zero below it.
    return BlockSpectrum(shape, squares.clamp(min=0.0).sqrt().flip(0), vectors.flip(1))


def spectrum_of(exact: BlockDecomposition) -> BlockSpectrum:
    """The spectrum of a block whose singular value decomposition, float64, is ``exact``."""
    shape = exact.U.shape[0], exact.Vh.shape[1]
    return BlockSpectrum(shape, exact.S, exact.Vh.mT if shape[0] >= shape[1] else exact.U, exact)


def truncate_with(weight: torch.Tensor, spectra: Sequence[BlockSpectrum], ranks: Sequence[int]) -> torch.Tensor:
    """Ŵ (m, n): ``weight`` with its row blocks cut to ``ranks``, in its own dtype, as `lowrank.truncate` gives it.

    Where the bound of `gram.truncated_by_gram` is met, a block is projected on the singular vectors before the cut or
    on those after it, whichever are fewer. Elsewhere it is cut by its singular value decomposition, with the bits of
    `lowrank.truncate`. A block that loses no rank keeps its bits.

    Args:
        weight: (m, n), the matrix of which `block_spectra` made ``spectra``, unchanged.
        spectra: one a block.
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
    fewer_kept = 2 * rank <= len(spectrum.S)
    basis = spectrum.vectors[:, :rank] if fewer_kept else spectrum.vectors[:, rank:]
    return projected(block, basis, keep=fewer_kept)


def _accurate(spectrum: BlockSpectrum, rank: int, dtype: torch.dtype) -> bool:
    """Whether the bound of `gram.truncated_by_gram` is met at a cut to ``rank``."""
    if dtype == torch.float64:
        return False
    squares = spectrum.S.square()
    above, below = float(squares[rank - 1]), float(squares[rank])
    error = squares_error(spectrum.shape, float(squares[0]))
    return accurate_at(above, below, error, min(rank, len(squares) - rank), float(squares[:rank].sum()), dtype)


def tied(spectrum: BlockSpectrum, rank: int) -> bool:
    """Whether σ_j and σ_{j+1} at a cut to ``rank`` = j are equal as far as float64 can tell: Ŵ is then not unique.

    Computed singular values are those of a matrix that is off by at most 4 √(m + n) 2⁻⁵² σ_1 (compare δ in
    `gram.truncated_by_gram`), so that two that differ by less may be equal. If both are zero to that accuracy, Ŵ is the
    block itself, and that is no tie.

    Where ``spectrum`` has no singular value decomposition, the squares λ are compared: there is a tie if λ_j and
    λ_{j+1} differ by at most 2δ and are not both zero. `truncate_with` has made a decomposition at every such cut, so
    that after it the answer is that of `tied_blocks`.
    """
    if rank >= len(spectrum.S):
        return False
    values = spectrum.values
    if spectrum.exact is None:
        squares = values.square()
        return _equal_at(squares, rank, 2 * squares_error(spectrum.shape, float(squares[0])))
    return _equal_at(values, rank, squares_error(spectrum.shape, float(values[0])))


def _equal_at(values: torch.Tensor, rank: int, margin: float) -> bool:
    """Whether the values on both sides of a cut are within ``margin``, and not both zero."""
    above, below = float(values[rank - 1]), float(values[rank])
    return above > margin and above - below <= margin


def tied_blocks(weight: torch.Tensor, ranks: Sequence[int], partition: str = ROW_BLOCKS) -> tuple[int, ...]:
    """The blocks whose truncation is not unique, as `tied` defines it.

    Eigenvalues of the smaller Gram matrix rule out a tie at most cuts; at the others, singular values decide.

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
        # Two σ within the margin of `tied` have squares within 2 σ_1 times that, which is 2δ. Each may be off by δ.
        if float(squares[rank - 1] - squares[rank]) > 4 * squares_error(block.shape, float(squares[0])):
            return False
    values = torch.linalg.svdvals(block.double())
    return _equal_at(values, rank, squares_error(block.shape, float(values[0])))
