"""What a tensor's hash is over, and what is recorded of a loaded weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cti_edits.errors import CheckpointError
from cti_edits.models.apply import target_matrix
from cti_edits.models.identity import checkpoint_of, identity_of, tensor_sha256
from tests.support.checkpoints import COMMIT, loaded, saved
from tests.support.tiny_models import tiny_model

SMALL = torch.tensor([[1.0, -2.5, 0.0], [3.0, 0.5, 1e-3]])


def test_the_hash_of_a_tensor_is_fixed() -> None:
    # sha256 of "F32 [2, 3]", a line feed, and 24 bytes.
    assert tensor_sha256(SMALL) == "3db1b26fe6a14d8ac6dfca16f7f011d3c302f1dd55f3e0fc549497be12310883"
    assert tensor_sha256(SMALL, torch.bfloat16) == "c7be230f7d4832a871ea443a339b68a23ca074dc175a33ff01b9c783895bd250"
    assert tensor_sha256(torch.zeros(0, 3)) == "5b068e7f7f72309757795991b3e87c9db9fd591fe504df6eb5d31a2c7497a0b7"


def test_the_hash_depends_on_dtype_shape_and_each_value() -> None:
    seen = {tensor_sha256(SMALL)}
    variants = [SMALL.to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)]
    variants += [SMALL.reshape(3, 2), SMALL.reshape(6), SMALL.reshape(1, 2, 3), SMALL.T]
    for index in range(6):
        other = SMALL.clone()
        other.view(-1)[index] = torch.nextafter(other.view(-1)[index], torch.tensor(9.0))
        variants.append(other)
    minus_zero = SMALL.clone()
    minus_zero[0, 2] = -0.0
    variants.append(minus_zero)
    seen |= {tensor_sha256(variant) for variant in variants}
    assert len(seen) == 1 + len(variants)
    # The same bytes under another dtype's name.
    assert tensor_sha256(torch.zeros(2, 2).half()) != tensor_sha256(torch.zeros(2, 2).bfloat16())


def test_the_hash_is_of_the_values_not_of_how_they_lie_in_memory() -> None:
    stored = SMALL.T.contiguous()
    assert tensor_sha256(stored.T) == tensor_sha256(SMALL)
    for part in (SMALL[:, :1], SMALL[0, ::2]):
        assert tensor_sha256(part) == tensor_sha256(part.clone(memory_format=torch.contiguous_format))
    assert tensor_sha256(torch.nn.Parameter(SMALL)) == tensor_sha256(SMALL)
    assert tensor_sha256(SMALL, torch.bfloat16) == tensor_sha256(SMALL.bfloat16())


NAME = "model.layers.1.mlp.gate_proj.weight"


def test_a_model_from_pickled_weights_or_from_python_is_identified_by_its_memory(tmp_path: Path) -> None:
    model = tiny_model("llama").half()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    model.config.save_pretrained(tmp_path)
    model.config._name_or_path = str(tmp_path)
    checkpoint = checkpoint_of(model)
    assert checkpoint is not None
    with pytest.raises(CheckpointError, match=r"has neither model\.safetensors nor model\.safetensors\.index\.json"):
        checkpoint.find(NAME)
    parameter = model.get_parameter(NAME)
    for place in (checkpoint, None):
        identity = identity_of(target_matrix(model, "U_in", 1), place)
        assert (identity.sha256, identity.dtype, identity.tensor) == (tensor_sha256(parameter), "F16", None)


def test_a_checkpoint_that_the_model_is_not_from_is_not_recorded(tmp_path: Path) -> None:
    saved(tmp_path)
    model = tiny_model("llama", seed=1)
    model.config._name_or_path = str(tmp_path)
    parameter = model.get_parameter(NAME)
    assert identity_of(target_matrix(model, "U_in", 1), checkpoint_of(model)).sha256 == tensor_sha256(parameter)


@pytest.mark.parametrize("name", ["", "no/such-model", "not an id", "/no/such/folder", "nul\0byte", 7])
def test_a_model_from_nowhere_has_no_checkpoint(name: Any) -> None:
    model = tiny_model("llama")
    model.config._name_or_path = name
    assert checkpoint_of(model) is None
    assert checkpoint_of(torch.nn.Linear(2, 2)) is None


def test_a_model_from_the_hub_is_known_by_its_commit(cached: Callable[..., str], tmp_path: Path) -> None:
    name = cached(saved(tmp_path / "one"))
    model = loaded(Path(name), torch.bfloat16)
    checkpoint = checkpoint_of(model, revision="main")
    assert checkpoint is not None
    assert (checkpoint.place, checkpoint.commit) == (name, COMMIT)
    identity = identity_of(target_matrix(model, "U_in", 1), checkpoint)
    assert (identity.sha256, identity.dtype) == (tensor_sha256(tiny_model("llama").get_parameter(NAME)), "F32")
