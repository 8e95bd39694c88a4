"""Edits of a row block with chance in the place of a search: which ranks are kept, which singular values change."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cti_edits.linalg.block_spectra import BlockSpectrum

LEAST_SIGMA = 1e-6
"""Singular values below this share of the block's largest are not drawn: their vectors are noise."""


def randomly_cut(block: torch.Tensor, spectrum: BlockSpectrum, rank: int, generator: torch.Generator) -> torch.Tensor:
    """``block`` with ``rank`` of its singular directions, drawn at random; itself where it has no more.

    Args:
        block: W_k (m_k, n), any floating dtype.
        spectrum: of it.
        rank: how many are kept.
        generator: draws them; on the CPU.
    """
    count = len(spectrum.S)
    if rank >= count:
        return block
    kept = torch.randperm(count, generator=generator)[:rank]
    basis = spectrum.vectors[:, kept.to(spectrum.vectors.device)]
    wide = block.double()
    found = (wide @ basis) @ basis.T if _is_tall(spectrum) else basis @ (basis.T @ wide)
    return found.to(block.dtype)


def randomly_changed(
    block: torch.Tensor, spectrum: BlockSpectrum, changes: Sequence[float], generator: torch.Generator
) -> torch.Tensor:
    """``block`` with each of these changes added to another of its singular values, drawn at random.

    The difference has the norm that it has where the same changes are made to chosen singular values.

    Args:
        block: W_k (m_k, n), any floating dtype.
        spectrum: of it.
        changes: σ_i' − σ_i of each; no more than the block has singular values above 0.
        generator: draws the singular values; on the CPU.
    """
    values = spectrum.values
    usable = (values > LEAST_SIGMA * values[0]).nonzero().flatten().cpu()
    drawn = usable[torch.randperm(len(usable), generator=generator)[: len(changes)]].to(values.device)
    added = torch.tensor(changes[: len(drawn)], dtype=torch.float64, device=values.device)
    factors = added / values[drawn]
    basis = (spectrum.vectors if spectrum.exact is None else _short_side(spectrum))[:, drawn]
    wide = block.double()
    tall = _is_tall(spectrum)
    found = wide + ((wide @ (basis * factors)) @ basis.T if tall else (basis * factors) @ (basis.T @ wide))
    return found.to(block.dtype)


def _is_tall(spectrum: BlockSpectrum) -> bool:
    """Whether the short side is that of the columns, so that ``vectors`` are right ones."""
    return spectrum.shape[0] >= spectrum.shape[1]


def _short_side(spectrum: BlockSpectrum) -> torch.Tensor:
    """The vectors of the short side in the order of `BlockSpectrum.values`."""
    assert spectrum.exact is not None
    return spectrum.exact.Vh.mT if _is_tall(spectrum) else spectrum.exact.U
