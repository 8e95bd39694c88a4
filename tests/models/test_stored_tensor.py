"""A tensor of a safetensors file: its bytes, hash and norm, read without a model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cti_edits.errors import CheckpointError
from cti_edits.models import stored_tensor
from cti_edits.models.identity import DTYPES, tensor_sha256
from cti_edits.models.stored_tensor import StoredTensor, tensors_in
from tests.support.tiny_models import tiny_model

NAME = "model.layers.1.mlp.gate_proj.weight"


def only_tensor(values: torch.Tensor, folder: Path) -> StoredTensor:
    """``values`` in a file of their own."""
    safetensors.torch.save_file({"w": values}, folder / "model.safetensors")
    return tensors_in(folder / "model.safetensors")["w"]


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_the_hash_is_of_the_very_bytes_in_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    """Cut out of the file by hand, by the offsets in its header."""
    tiny_model("llama").to(dtype).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + length])[NAME]
    start, end = (8 + length + offset for offset in entry["data_offsets"])
    expected = hashlib.sha256(f"{entry['dtype']} {entry['shape']}\n".encode() + content[start:end]).hexdigest()
    stored = tensors_in(file)[NAME]
    assert (stored.dtype, list(stored.shape)) == (entry["dtype"], entry["shape"])
    assert stored.sha256() == expected == tensor_sha256(stored.tensor())
    assert stored.frobenius_norm() == pytest.approx(float(torch.linalg.vector_norm(stored.tensor().double())), 1e-12)


@pytest.mark.parametrize("chunk", [1, 100, 128, 1000])
@pytest.mark.parametrize("shape", [(7, 5), (5,), (1, 9), (0, 3), (3, 0), (), (2, 3, 4)])
def test_a_tensor_hashed_in_parts_has_the_hash_of_the_whole(
    chunk: int, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_tensor, "CHUNK_BYTES", chunk)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stored = only_tensor(values, tmp_path)
    assert stored.sha256() == tensor_sha256(values)
    assert stored.frobenius_norm() == pytest.approx(float(values.double().square().sum().sqrt()))
    if len(shape) > 1 and 0 not in shape:
        assert len(list(stored.chunks())) == -(-shape[0] // max(1, chunk // (values[0].numel() * 4)))


def test_a_file_that_is_cut_short_after_its_header_was_read_is_an_error(tmp_path: Path) -> None:
    """Mapped into memory, it would end the process."""
    stored = only_tensor(torch.ones(2, 3), tmp_path)
    stored.file.write_bytes(stored.file.read_bytes()[:-1])
    for call in (stored.tensor, stored.sha256, stored.frobenius_norm):
        with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read: it ends too early"):
            call()


def test_a_tensor_of_another_dtype_is_found_and_is_no_weight(tmp_path: Path) -> None:
    stored = only_tensor(torch.ones(2, 3, dtype=torch.int8), tmp_path)
    assert (stored.dtype, stored.shape, stored.size, stored.is_weight) == ("I8", (2, 3), 6, False)
    with pytest.raises(CheckpointError, match="w is stored as I8, which holds no plain weights"):
        stored.tensor()


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ('{"w": ["F32", [2], [0, 8]]}', 8),
        ('{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}}', 9),
        ('{"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}', 12),
        ('{"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', 8),
        ('{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', 7),
        ('{"w": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}', 8),
        ('{"w": {"shape": [2], "data_offsets": [0, 8]}}', 8),
        ('{"w": 7}', 0),
        ("[]", 0),
        ("{" * 100_000, 0),
        ("", 0),
    ],
)
def test_a_header_that_lies_is_an_error_in_one_line(header: str, size: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(size))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read: ") as caught:
        tensors_in(file)
    assert str(caught.value).isprintable()
