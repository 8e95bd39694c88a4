"""A base that is a GGUF file: the values of its tensors are what an edit's hash is over."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from cti_edits.artifact.asked import Asked, AskedModel
from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.errors import BaseMismatchError, CheckpointError, EditError
from cti_edits.harness.lm import EditedLM
from cti_edits.models.apply import applied, apply, target_matrix
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.gguf_checkpoint import GgufCheckpoint, open_gguf
from cti_edits.models.identity import checkpoint_of, tensor_sha256
from cti_edits.models.verify import base_checkpoint, verify
from studies.architecture_checks import edits_of
from studies.tiny import TINY
from tests.support.edits import SEARCH
from tests.support.gguf_files import write_gguf
from tests.support.tiny_models import save_checkpoint

FILE = "model.gguf"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MATRICES = {
    # Queries: rows in another order. Gate: 8 bits.
    "llama": ("U_in", "U_out", "W_q", "W_v"),
    # Rows = input features; values are a part of a tensor.
    "gpt2": ("U_in", "U_out", "W_v"),
}


def from_gguf(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=dtype)


def recorded(model: Any, base: Path, matrices: tuple[str, ...], **where: Any) -> Edit:
    """An edit of a loaded model, as a search records it."""
    checkpoint = checkpoint_of(model, **where)
    edits = tuple(next(edits_of(target_matrix(model, matrix, 1), checkpoint)) for matrix in matrices)
    dtype = str(model.dtype).removeprefix("torch.")
    return Edit("of-gguf", "", BaseModel(str(base), None, type(model).__name__, dtype), edits)


@pytest.fixture(scope="module", params=MATRICES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GGUF file and nothing else."""
    made = tmp_path_factory.mktemp(request.param)
    # What the file does not say of its sizes, transformers has a default of.
    sizes: dict[str, Any] = {"n_inner": None, "max_position_embeddings": 1024} if request.param == "gpt2" else {}
    write_gguf(TINY[request.param].build(**sizes), made / FILE)
    return made


@pytest.fixture
def matrices(folder: Path) -> tuple[str, ...]:
    return next(found for name, found in MATRICES.items() if folder.name.startswith(name))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_edit_of_a_gguf_file_is_verified_in_every_dtype(
    folder: Path, matrices: tuple[str, ...], dtype: torch.dtype
) -> None:
    edit = recorded(from_gguf(folder, dtype), folder, matrices, gguf_file=FILE)
    unpacked = from_gguf(folder)
    for one in edit.edits:
        assert (one.dtype, one.tensor) == ("F32", f"{one.module}.weight")
        assert one.sha256 == tensor_sha256(target_matrix(unpacked, one.matrix, 1).hashed)
    for loaded_as in DTYPES:
        with applied(edit, from_gguf(folder, loaded_as), gguf_file=FILE) as in_force:
            assert in_force.verified
    assert [one.verdict for one in verify(edit, base_checkpoint(edit, str(folder / FILE), None))] == ["ok"] * len(
        edit.edits
    )


def test_a_checkpoint_that_was_saved_from_the_file_is_the_same_base(
    folder: Path, matrices: tuple[str, ...], tmp_path: Path
) -> None:
    edit = recorded(from_gguf(folder, torch.bfloat16), folder, matrices, gguf_file=FILE)
    model = from_gguf(folder)
    config = type(model.config).from_dict({**model.config.to_dict(), "quantization_config": None})
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(tmp_path / "saved")
    assert [one.verdict for one in verify(edit, open_checkpoint(str(tmp_path / "saved")))] == ["ok"] * len(edit.edits)
    of_saved = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert apply(edit, of_saved).verified
    back = recorded(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved"), tmp_path, matrices)
    assert apply(back, from_gguf(folder, torch.bfloat16), gguf_file=FILE).verified


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of safetensors files, and the GGUF file that was made of it."""
    made = tmp_path_factory.mktemp("both")
    model = TINY["llama"].build().bfloat16()
    model.save_pretrained(made)
    write_gguf(model, made / FILE)
    return made


def test_an_edit_of_the_weights_that_the_file_was_made_of_fits_what_it_keeps(llama: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16)
    kept, quantized = (recorded(base, llama, (matrix,)) for matrix in ("U_out", "U_in"))
    for dtype in DTYPES:
        model = from_gguf(llama, dtype)
        assert apply(kept, model, gguf_file=FILE).verified
        with pytest.raises(BaseMismatchError, match=r"edits\[0\]\.sha256: model\.layers\.1\.mlp\.gate_proj\.weight is"):
            apply(quantized, model, gguf_file=FILE)
        assert not apply(quantized, model, verify=False, gguf_file=FILE).verified
    (found,) = verify(quantized, base_checkpoint(quantized, str(llama / FILE), None))
    assert found.verdict == "does not fit"


def test_another_file_is_another_base(llama: Path, tmp_path: Path) -> None:
    edit = recorded(from_gguf(llama, torch.bfloat16), llama, ("U_in",), gguf_file=FILE)
    write_gguf(TINY["llama"].build(seed=1), tmp_path / FILE)
    other = from_gguf(tmp_path, torch.bfloat16)
    with pytest.raises(BaseMismatchError):
        apply(edit, other, gguf_file=FILE)
    # The file beside it is the edit's, and what is in memory is not of that one.
    with pytest.raises(BaseMismatchError, match=r"it was changed"):
        apply(edit, other, gguf_file=str(llama / FILE))


def test_a_file_and_its_base_are_told_apart_by_lm_eval_too(llama: Path, tmp_path: Path) -> None:
    arguments = {"gguf_file": FILE, "tokenizer": str(save_checkpoint(tmp_path / "t", "llama")), "dtype": "bfloat16"}
    fits = recorded(from_gguf(llama), llama, ("U_in",), gguf_file=FILE).write(tmp_path / "fits.json")
    lm = EditedLM.create_from_arg_obj({"edit": str(fits), "pretrained": str(llama), **arguments}, {"device": "cpu"})
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    base = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16)
    other = recorded(base, llama, ("U_in",)).write(tmp_path / "other.json")
    with pytest.raises(BaseMismatchError, match=r"is not the tensor that this edit was made for"):
        EditedLM.create_from_arg_obj({"edit": str(other), "pretrained": str(llama), **arguments}, {"device": "cpu"})


def test_the_file_that_the_search_loaded_is_the_default(llama: Path) -> None:
    edit = recorded(from_gguf(llama), llama, ("U_in",), gguf_file=FILE)
    asked = Asked(model=AskedModel(pretrained=str(llama), gguf_file=FILE))
    edit = dataclasses.replace(edit, search=dataclasses.replace(SEARCH, asked=asked))
    assert isinstance(base_checkpoint(edit, None, None), GgufCheckpoint)
    assert [one.verdict for one in verify(edit, base_checkpoint(edit, None, None))] == ["ok"]
    outside = dataclasses.replace(asked, model=AskedModel(pretrained=str(llama), gguf_file=f"../{llama.name}/{FILE}"))
    edit = dataclasses.replace(edit, search=dataclasses.replace(SEARCH, asked=outside))
    with pytest.raises(CheckpointError, match="expected a folder inside"):
        base_checkpoint(edit, None, None)


def test_values_and_norm_are_those_of_numpy(llama: Path) -> None:
    import gguf

    found = GgufCheckpoint(llama / FILE).find("model.layers.1.mlp.gate_proj.weight")
    assert found is not None
    (raw,) = (one for one in gguf.GGUFReader(str(llama / FILE)).tensors if one.name == "blk.1.ffn_gate.weight")
    blocks = raw.data.reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    expected = (scales * blocks[:, 2:].view(np.int8)).reshape(found.shape)
    assert np.array_equal(found.tensor().numpy(), expected)
    assert found.frobenius_norm() == pytest.approx(np.linalg.norm(expected.astype(float)), rel=1e-12)
    assert found.size == expected.nbytes
    assert np.array_equal(found.values(8, 20).numpy(), expected.reshape(-1)[2:7])
    with pytest.raises(CheckpointError, match="a GGUF file is not written"):
        found.write(found.tensor())


def raw(file: Path, name: str) -> Any:
    """A tensor of the file, by the package that writes such files."""
    import gguf

    (found,) = (one for one in gguf.GGUFReader(str(file)).tensors if one.name == name)
    return found


def test_the_bytes_in_the_file_are_recorded_and_known(llama: Path, tmp_path: Path) -> None:
    edit = recorded(from_gguf(llama, torch.bfloat16), llama, ("U_in",), gguf_file=FILE)
    (one,) = edit.edits
    tensor = raw(llama / FILE, "blk.1.ffn_gate.weight")
    assert one.gguf_sha256 == hashlib.sha256(tensor.data.tobytes()).hexdigest()
    assert edit.schema_version == 2
    (found,) = verify(edit, GgufCheckpoint(llama / FILE))
    assert (found.verdict, found.why) == ("ok", f"{one.module}.weight, its bytes in the GGUF file")
    for name, verdict in (("blk.1.ffn_gate.weight", "does not fit"), ("blk.0.ffn_gate.weight", "ok")):
        content = bytearray((llama / FILE).read_bytes())
        # The last of a block's whole numbers: another byte is another value.
        content[int(raw(llama / FILE, name).data_offset) + 33] ^= 1
        (tmp_path / FILE).write_bytes(content)
        (found,) = verify(edit, GgufCheckpoint(tmp_path / FILE))
        assert found.verdict == verdict


def test_other_bytes_of_the_same_values_are_the_same_base(llama: Path) -> None:
    edit = recorded(from_gguf(llama), llama, ("U_in",), gguf_file=FILE)
    other = dataclasses.replace(edit, edits=(dataclasses.replace(edit.edits[0], gguf_sha256="0" * 64),))
    (found,) = verify(other, GgufCheckpoint(llama / FILE))
    assert (found.verdict, found.why) == ("ok", f"{edit.edits[0].module}.weight, F32")


def test_what_the_file_does_not_have_is_not_found(llama: Path) -> None:
    checkpoint = GgufCheckpoint(llama / FILE)
    assert checkpoint.config.model_type == "llama"
    assert checkpoint.find("model.layers.7.mlp.gate_proj.weight") is None
    assert checkpoint.find("no.such.weight") is None


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 40, b"not a GGUF file, but as long as one" * 9]
)
def test_a_damaged_file_ends_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.gguf: cannot be read: ") as caught:
        open_gguf(str(tmp_path), FILE).find("model.layers.0.mlp.gate_proj.weight")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no model\.gguf$"):
        open_gguf(str(tmp_path), FILE)


def test_without_the_reader_it_is_said_what_brings_it(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = recorded(from_gguf(llama), llama, ("U_in",), gguf_file=FILE)
    model = from_gguf(llama, torch.bfloat16)
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr("transformers.modeling_gguf_pytorch_utils.is_gguf_available", lambda: False)
    with pytest.raises(EditError, match=r'needs the package gguf: pip install "cti-edits\[demo\]"'):
        apply(edit, model, gguf_file=FILE)
