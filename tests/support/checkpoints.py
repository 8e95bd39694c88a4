"""Checkpoints of tiny models, and edits as a search on one records them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.models.apply import target_matrix
from cti_edits.models.identity import checkpoint_of, identity_of
from tests.support.edits import matrix_edit
from tests.support.tiny_models import tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def saved(folder: Path, model_type: str = "llama", dtype: torch.dtype = torch.float32, **options: Any) -> Path:
    """A checkpoint of a tiny model, stored as ``dtype``."""
    tiny_model(model_type).to(dtype).save_pretrained(folder, **options)
    return folder


def recorded(folder: Path, *places: tuple[str, int], made_in: str | None = None) -> Edit:
    """An edit as a search records it: of the model in ``folder``, loaded as ``made_in``."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=made_in or "auto")
    edits = []
    for matrix, layer in places:
        one = matrix_edit(model, matrix, layer)
        identity = identity_of(target_matrix(model, matrix, layer), checkpoint_of(model))
        edits.append(type(one)(**{**vars(one), **vars(identity)}))
    dtype = str(model.dtype).removeprefix("torch.")
    return Edit("recorded", "", BaseModel(str(folder), None, type(model).__name__, dtype), tuple(edits))


def loaded(folder: Path, dtype: torch.dtype) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def weights(model: Any, edit: Edit) -> list[torch.Tensor]:
    return [target_matrix(model, one.matrix, one.layer).weight.clone() for one in edit.edits]
