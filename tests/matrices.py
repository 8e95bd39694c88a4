"""Matrices with singular values that a test chooses."""

from __future__ import annotations

import torch


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
