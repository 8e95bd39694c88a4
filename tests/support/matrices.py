"""Matrices for tests: with singular values that they choose, or drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from cti_edits.artifact.ranks import full_ranks


def with_spectrum(rows: int, columns: int, values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A float64 matrix with singular values ``values`` and random singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    U, V = (
        torch.linalg.qr(torch.randn(size, len(values), generator=generator, dtype=torch.float64))[0]
        for size in (rows, columns)
    )
    result: torch.Tensor = (U * values) @ V.mT
    return result


def random_block(rows: int, columns: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """A matrix with normal elements of the size that weights have."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, columns, generator=generator, dtype=torch.float64) * 0.02).to(dtype)


@st.composite
def weights_and_ranks(draw: st.DrawFn, dtypes: Sequence[torch.dtype]) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Few distinct values, so that ties and deficient blocks are common, or random ones of any size."""
    shape = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    clusters = draw(st.integers(1, min(3, shape[0])))
    dtype = draw(st.sampled_from(dtypes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        weight = torch.randint(-2, 3, shape, generator=generator).to(dtype)
    else:
        spread = 10.0 ** -(draw(st.integers(0, 6)) * torch.rand(shape[1], generator=generator, dtype=torch.float64))
        weight = (torch.randn(shape, generator=generator, dtype=torch.float64) * spread).to(dtype)
    return weight, tuple(draw(st.integers(1, full)) for full in full_ranks(shape, clusters))
