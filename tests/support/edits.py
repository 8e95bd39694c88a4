"""Edits for the tests, made from a model rather than searched."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, MatrixEdit, PluginEdit
from cti_edits.artifact.ranks import block_ranks
from cti_edits.artifact.records import SearchRecord
from cti_edits.models.apply import target_matrix
from cti_edits.models.identity import checkpoint_of, identity_of, tensor_sha256

DATA = Path(__file__).parents[1] / "data"
EDIT_1 = DATA / "edit-1"
"""The fixtures of version 1 of the manifest."""

EDIT_2 = DATA / "edit-2"
"""Those of version 2."""


def full() -> dict[str, Any]:
    """A fresh copy of the manifest that has every field but those of what was asked."""
    return dict(json.loads((EDIT_1 / "every_field.json").read_text(encoding="utf-8")))


def full_2() -> dict[str, Any]:
    """A fresh copy of the manifest of version 2 that has every field."""
    return dict(json.loads((EDIT_2 / "every_field.json").read_text(encoding="utf-8")))


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
) -> BlockSvdEdit:
    """An edit of a matrix of ``model``, with the hash of the tensor as ``dtype``."""
    target = target_matrix(model, matrix, layer)
    shape = (target.weight.shape[0], target.weight.shape[1])
    return BlockSvdEdit(
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


BASE = BaseModel("tests/tiny", "abc", "LlamaForCausalLM", "float32")
"""The base of `edit`'s edits."""


def entry(matrix: str = "U_in", layer: int = 0, **changes: Any) -> BlockSvdEdit:
    """A matrix edit of no model: what is done with manifests alone needs none."""
    shape, clusters, rho = (48, 32), 2, 0.25
    ranks = block_ranks(shape, clusters, rho)
    made = BlockSvdEdit(
        matrix=matrix,
        layer=layer,
        module=f"model.layers.{layer}.{matrix}",
        shape=shape,
        rho=rho,
        clusters=clusters,
        block_ranks=ranks,
    )
    return dataclasses.replace(made, **changes)


def directions(matrix: str = "U_in", layer: int = 0, **changes: Any) -> DirectionsEdit:
    """Two directions of a matrix of no model."""
    made = DirectionsEdit(
        matrix=matrix,
        layer=layer,
        module=f"model.layers.{layer}.{matrix}",
        shape=(48, 32),
        index=(0, 3),
        scale=(1.5, 0.5),
        sigma=(4.0, 1.0),
    )
    return dataclasses.replace(made, **changes)


def directions_of(
    model: Any,
    matrix: str,
    layer: int,
    chosen: Mapping[tuple[int, int], float],
    clusters: int = 1,
) -> DirectionsEdit:
    """An edit of a matrix of ``model``: from each direction (k, i) to its factor, with σ by numpy's decomposition."""
    target = target_matrix(model, matrix, layer)
    shape = (target.weight.shape[0], target.weight.shape[1])
    blocks = np.array_split(target.weight.double().numpy(), clusters)
    spectra = [np.linalg.svd(block, compute_uv=False) for block in blocks]
    places = sorted(chosen)
    return DirectionsEdit(
        matrix=matrix,
        layer=layer,
        module=target.module,
        shape=shape,
        clusters=clusters,
        block=tuple(block for block, _ in places) if clusters > 1 else None,
        index=tuple(index for _, index in places),
        scale=tuple(chosen[place] for place in places),
        sigma=tuple(float(spectra[block][index]) for block, index in places),
        sha256=tensor_sha256(target.parameter),
    )


def edit_with(model: Any, *edits: MatrixEdit, base_id: str = "tests/tiny", name: str = "test") -> Edit:
    """An edit of ``model`` of these matrix edits."""
    return dataclasses.replace(edit_of(model, base_id=base_id, name=name), edits=edits)


def edit(name: str, *entries: MatrixEdit, **changes: Any) -> Edit:
    """An edit of no model."""
    return dataclasses.replace(Edit(name=name, description="d", base_model=BASE, edits=entries), **changes)


def recorded(folder: Path, *places: tuple[str, int, int, float]) -> Edit:
    """An edit of the checkpoint in ``folder``, as a search records one: with hash, norm, dtype and name."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    edit = edit_of(model, *places, base_id=str(folder), name="tiny")
    edits = []
    for one in edit.edits:
        identity = identity_of(target_matrix(model, one.matrix, one.layer), checkpoint_of(model))
        edits.append(dataclasses.replace(one, **vars(identity)))
    return dataclasses.replace(edit, edits=tuple(edits))


def cuts(edit: Edit) -> tuple[BlockSvdEdit, ...]:
    """The matrix edits of an edit that has rank cuts alone."""
    assert all(isinstance(one, BlockSvdEdit) for one in edit.edits)
    return tuple(one for one in edit.edits if isinstance(one, BlockSvdEdit))


def plugin_edit(one: MatrixEdit) -> PluginEdit:
    """An edit of the same matrix by a method that nobody has."""
    return PluginEdit(
        name="magic",
        distribution="cti-edits-magic",
        matrix=one.matrix,
        layer=one.layer,
        module=one.module,
        shape=one.shape,
        sha256=one.sha256,
        dtype=one.dtype,
    )


def directions_edit(
    model: Any, matrix: str, layer: int, scale: Mapping[tuple[int, int], float], clusters: int = 1
) -> DirectionsEdit:
    """An edit of a matrix of ``model`` that gives its directions (block, index) other singular values."""
    target = target_matrix(model, matrix, layer)
    places = sorted(scale)
    sigma = [torch.linalg.svdvals(block.double()) for block in torch.tensor_split(target.weight, clusters)]
    return DirectionsEdit(
        matrix=matrix,
        layer=layer,
        module=target.module,
        shape=(target.weight.shape[0], target.weight.shape[1]),
        clusters=clusters,
        block=tuple(block for block, _ in places) if clusters > 1 else None,
        index=tuple(index for _, index in places),
        scale=tuple(scale[place] for place in places),
        sigma=tuple(float(sigma[block][index]) for block, index in places),
        sha256=tensor_sha256(target.parameter),
    )
