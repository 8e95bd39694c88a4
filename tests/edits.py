"""Edits for the tests, made from a model rather than searched."""

from __future__ import annotations

from typing import Any

from cti_edits.apply import target_matrix, tensor_sha256
from cti_edits.manifest import BaseModel, Edit, MatrixEdit
from cti_edits.ranks import block_ranks


def edit_of(
    model: Any,
    *places: tuple[str, int, int, float],
    base_id: str = "tests/tiny",
    name: str = "test",
    hashed: bool = True,
) -> Edit:
    """An edit of ``model`` at (matrix, layer, K, ρ) places, with the model's own hashes."""
    edits = []
    for matrix, layer, clusters, rho in places:
        target = target_matrix(model, matrix, layer)
        shape = (target.weight.shape[0], target.weight.shape[1])
        edits.append(
            MatrixEdit(
                matrix=matrix,
                layer=layer,
                module=target.module,
                shape=shape,
                rho=rho,
                clusters=clusters,
                block_ranks=block_ranks(shape, clusters, rho),
                sha256=tensor_sha256(target.parameter) if hashed else None,
            )
        )
    return Edit(
        name=name,
        description="",
        base_model=BaseModel(base_id, None, type(model).__name__, str(model.dtype).removeprefix("torch.")),
        edits=tuple(edits),
    )
