"""Edits for the tests, made from a model rather than searched."""

from __future__ import annotations

from typing import Any

import torch

from cti_edits.artifact.manifest import BaseModel, Edit, MatrixEdit
from cti_edits.artifact.ranks import block_ranks
from cti_edits.artifact.records import SearchRecord
from cti_edits.models.apply import target_matrix
from cti_edits.models.identity import tensor_sha256

SEARCH = SearchRecord(
    preset=None,
    seed=0,
    samples=4,
    sample_ids_sha256="0" * 64,
    top_q=1,
    clusters=(1,),
    rates=(0.5,),
    matrices=("U_in",),
    candidates=1,
)
"""A search of a few rows that recorded neither them nor what it asked."""


def matrix_edit(
    model: Any,
    matrix: str,
    layer: int,
    clusters: int = 2,
    rho: float = 0.25,
    dtype: torch.dtype | None = None,
) -> MatrixEdit:
    """An edit of a matrix of ``model``, with the hash of the tensor as ``dtype``."""
    target = target_matrix(model, matrix, layer)
    shape = (target.weight.shape[0], target.weight.shape[1])
    return MatrixEdit(
        matrix=matrix,
        layer=layer,
        module=target.module,
        shape=shape,
        rho=rho,
        clusters=clusters,
        block_ranks=block_ranks(shape, clusters, rho),
        sha256=tensor_sha256(target.parameter, dtype),
    )


def edit_of(model: Any, *places: tuple[str, int, int, float], base_id: str = "tests/tiny", name: str = "test") -> Edit:
    """An edit of ``model`` at (matrix, layer, K, ρ) places, with the model's own hashes."""
    return Edit(
        name=name,
        description="",
        base_model=BaseModel(base_id, None, type(model).__name__, str(model.dtype).removeprefix("torch.")),
        edits=tuple(matrix_edit(model, *place) for place in places),
    )
