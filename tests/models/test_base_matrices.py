"""The matrices of an edit in a checkpoint folder; test_export.py has what it refuses, in the words that a user sees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from cti_edits.errors import BaseMismatchError
from cti_edits.models.apply import target_matrix
from cti_edits.models.base_matrices import base_weight, find_targets, stored_tensor, verified_base
from cti_edits.models.checkpoint import folder_checkpoint
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model


def weight_of(folder: Path, made_in: torch.dtype, verify: bool = True) -> torch.Tensor:
    """W of the checkpoint in ``folder`` for an edit of a model in ``made_in``."""
    edit = edit_of(tiny_model("gpt2").to(made_in), ("U_in", 1, 1, 0.75))
    checkpoint = folder_checkpoint(folder)
    (target,) = find_targets(edit, checkpoint, folder)
    assert (target.module, target.parameter.is_meta) == ("transformer.h.1.mlp.c_fc", True)
    (one,) = edit.edits
    stored = stored_tensor(one, target, checkpoint, folder, "here")
    assert (stored.name, stored.shape) == ("transformer.h.1.mlp.c_fc.weight", (32, 48))
    return base_weight(edit, one, target, stored, verify, "here")


@pytest.mark.parametrize(
    ("kept_as", "made_in", "given"),
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.float32, torch.float16, torch.float16),
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32, torch.float16),
        (torch.float16, torch.bfloat16, torch.float16),
    ],
    ids=str,
)
def test_the_weight_is_in_the_edit_s_dtype_where_the_stored_one_holds_it(
    kept_as: torch.dtype, made_in: torch.dtype, given: torch.dtype, tmp_path: Path
) -> None:
    model = tiny_model("gpt2").to(kept_as)
    model.save_pretrained(tmp_path)
    found = weight_of(tmp_path, made_in, verify=kept_as == torch.float32)
    assert (found.dtype, found.shape) == (given, (48, 32))
    assert torch.equal(found, target_matrix(model, "U_in", 1).weight.to(given))


def test_another_tensor_is_refused_if_it_is_verified(tmp_path: Path) -> None:
    tiny_model("gpt2", seed=1).save_pretrained(tmp_path)
    with pytest.raises(
        BaseMismatchError, match=r"^here\.sha256: transformer\.h\.1\.mlp\.c_fc\.weight is not the tensor"
    ):
        weight_of(tmp_path, torch.float32)
    assert weight_of(tmp_path, torch.float32, verify=False).shape == (48, 32)


def test_what_is_not_verified_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    edit = edit_of(tiny_model("gpt2"), ("U_in", 1, 1, 0.75), ("U_out", 1, 1, 0.75))
    assert verified_base(edit, verify=True)
    assert not caplog.records
    unknown = dataclasses.replace(edit, edits=(edit.edits[0], dataclasses.replace(edit.edits[1], sha256=None)))
    assert not verified_base(unknown, verify=True)
    assert not verified_base(edit, verify=False)
    assert caplog.messages == ["test: its base is not verified"] * 2
    assert verified_base(dataclasses.replace(edit, edits=()), verify=True)
