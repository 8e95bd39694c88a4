"""Under which name, and as which part, a checkpoint stores a matrix: the bits that it finds are those in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.stored_names import find_stored
from cti_edits.models.stored_part import StoredPart
from cti_edits.models.stored_tensor import StoredTensor
from cti_edits.models.targets import target_matrices, target_matrix
from studies.tiny import TINY
from studies.tiny.tokenizer import save_checkpoint

TYPES = {
    "llama": StoredTensor,  # under its own name
    "gpt_neox": StoredPart,  # fused in memory and on disk
    "mixtral": StoredTensor,  # one tensor in memory, one for each expert on disk
    "gpt_oss": StoredPart,  # one tensor in memory and on disk
    "nomic_bert": StoredPart,  # three in memory, one on disk
}
"""Of each, what W_q of the last layer, or an expert's U_in, is found as."""


@pytest.mark.parametrize("model_type", TYPES)
def test_what_is_found_has_the_bits_of_the_matrix(model_type: str, tmp_path: Path) -> None:
    tiny = TINY[model_type]
    model = tiny.build()
    checkpoint = open_checkpoint(str(save_checkpoint(tmp_path, model, masked=tiny.kind == "masked")))
    kinds = set()
    for target in target_matrices(model, ("U_in", "U_out", "W_q")):
        stored = find_stored(checkpoint, target)
        assert stored is not None, target.name
        matrix = stored.tensor()
        assert torch.equal(target.matrix_of(matrix) if matrix.shape == target.hashed.shape else matrix, target.weight)
        if target.expert is not None or (target.matrix == "W_q" and "oss" not in model_type):
            kinds.add(type(stored))
    assert TYPES[model_type] in kinds


def test_a_matrix_that_is_not_stored(tmp_path: Path) -> None:
    model = TINY["mixtral"].build()
    folder = save_checkpoint(tmp_path, model)
    stored = load_file(folder / "model.safetensors")
    gone = [name for name in stored if "experts.1.w1" in name]
    save_file({name: one for name, one in stored.items() if name not in gone}, folder / "model.safetensors")
    checkpoint = open_checkpoint(str(folder))
    assert find_stored(checkpoint, target_matrix(model, "U_in", 0, expert=0)) is not None
    assert find_stored(checkpoint, target_matrix(model, "U_in", 0, expert=1)) is None
