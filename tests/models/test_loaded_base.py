"""A loaded model against the edit that it is to get: what memory and the checkpoint say together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from cti_edits.errors import BaseMismatchError
from cti_edits.models.apply import applied, apply
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.identity import DTYPE_NAMES
from tests.support.checkpoints import loaded, recorded, saved
from tests.support.tiny_models import tiny_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


NAME = "model.layers.1.mlp.gate_proj.weight"


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("as_loaded", DTYPES)
@pytest.mark.parametrize("made_in", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_a_recorded_edit_verifies_in_whatever_dtype_its_checkpoint_is_loaded(
    stored: torch.dtype, made_in: str, as_loaded: torch.dtype, shards: bool, tmp_path: Path
) -> None:
    folder = saved(tmp_path, dtype=stored, **({"max_shard_size": "10KB"} if shards else {}))
    edit = recorded(folder, ("U_in", 1), ("W_o", 0), made_in=made_in)
    found = open_checkpoint(str(folder)).find(NAME)
    assert found is not None
    assert (edit.edits[0].sha256, edit.edits[0].tensor) == (found.sha256(), NAME)
    assert edit.edits[0].dtype == found.dtype == DTYPE_NAMES[stored]
    assert edit.edits[0].frobenius_norm == pytest.approx(found.frobenius_norm(), rel=1e-11)
    assert apply(edit, loaded(folder, as_loaded)).verified


def test_another_checkpoint_does_not_verify_in_a_narrower_dtype(tmp_path: Path) -> None:
    """Its cast is the very same tensor in memory, as bfloat16 does not hold the difference."""
    edit = recorded(saved(tmp_path / "one"), ("U_in", 1))
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_parameter(NAME)[0, 0] *= 1 + 2**-20
    model.save_pretrained(tmp_path / "other")
    other = loaded(tmp_path / "other", torch.bfloat16)
    assert torch.equal(other.get_parameter(NAME), loaded(tmp_path / "one", torch.bfloat16).get_parameter(NAME))
    stored = open_checkpoint(str(tmp_path / "other")).find(NAME)
    assert stored is not None
    with pytest.raises(BaseMismatchError, match=f"expected {edit.edits[0].sha256}, found {stored.sha256()}"):
        apply(edit, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_weight_that_was_changed_after_loading_does_not_verify(dtype: torch.dtype, tmp_path: Path) -> None:
    edit = recorded(saved(tmp_path), ("U_in", 1))
    model = loaded(tmp_path, dtype)
    with torch.no_grad():
        model.get_parameter(NAME)[3, 4] *= 1.25
    with pytest.raises(BaseMismatchError, match="it was changed" if dtype != torch.float32 else "is not the tensor"):
        apply(edit, model)


def test_a_checkpoint_that_is_gone_leaves_what_memory_holds(tmp_path: Path) -> None:
    edit = recorded(saved(tmp_path / "gone"), ("U_in", 1))
    models = {dtype: loaded(tmp_path / "gone", dtype) for dtype in DTYPES}
    shutil.rmtree(tmp_path / "gone")
    for dtype in (torch.float32, torch.float64):
        with applied(edit, models[dtype]) as in_force:
            assert in_force.verified
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(BaseMismatchError, match=f"loaded as {str(dtype)[6:]}, the edit was made for dtype=float32"):
            apply(edit, models[dtype])
