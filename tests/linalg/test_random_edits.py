from __future__ import annotations

import pytest
import torch

from cti_edits.linalg.block_spectra import block_spectra
from cti_edits.linalg.random_edits import randomly_changed, randomly_cut

SHAPES = ((12, 7), (7, 12))
DTYPES = (torch.float32, torch.float64)


def matrix(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_random_cut_keeps_singular_values_of_the_block(shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = matrix(shape, dtype)
    (spectrum,) = block_spectra(block, 1)
    values = torch.linalg.svdvals(block.double())
    cut = randomly_cut(block, spectrum, 3, drawn(0))
    assert cut.dtype == dtype
    kept = torch.linalg.svdvals(cut.double())
    assert float(kept[3:].max()) < 1e-5
    assert all(float((values - one).abs().min()) < 1e-5 for one in kept[:3])
    assert torch.equal(cut, randomly_cut(block, spectrum, 3, drawn(0)))
    assert not torch.equal(cut, randomly_cut(block, spectrum, 3, drawn(1)))
    # Eckart and Young: no other is as close as the best.
    assert float((block - cut).norm()) > float(values[3:].norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_changes_have_the_norm_of_those_that_were_chosen(shape: tuple[int, int], dtype: torch.dtype) -> None:
    block, changes = matrix(shape, dtype), (0.5, -0.25, 1.0)
    (spectrum,) = block_spectra(block, 1)
    found = randomly_changed(block, spectrum, changes, drawn(0))
    assert found.dtype == dtype
    values = torch.linalg.svdvals(found.double() - block.double())
    assert values[:3].tolist() == pytest.approx([1.0, 0.5, 0.25], abs=1e-5)
    assert float(values[3:].max()) < 1e-5
    assert not torch.equal(found, randomly_changed(block, spectrum, changes, drawn(1)))


def test_a_block_that_keeps_all_of_its_ranks_keeps_its_bits() -> None:
    block = matrix((12, 7), torch.float32)
    assert randomly_cut(block, block_spectra(block, 1)[0], 7, drawn(0)) is block


def test_singular_values_of_zero_are_not_drawn() -> None:
    block = matrix((12, 7), torch.float64) * torch.tensor([1.0, 1, 0, 0, 0, 0, 0], dtype=torch.float64)
    (spectrum,) = block_spectra(block, 1)
    found = randomly_changed(block, spectrum, (0.5, 0.5), drawn(3))
    assert bool(torch.isfinite(found).all())
    assert float(found[:, 2:].abs().max()) == 0.0
