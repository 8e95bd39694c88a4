"""A part of a stored tensor: read, hashed and written alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cti_edits.artifact.rows import Rows
from cti_edits.models.identity import tensor_sha256
from cti_edits.models.stored_part import StoredPart
from cti_edits.models.stored_tensor import StoredTensor, tensors_in


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, StoredTensor]:
    tensors = {
        "fused": torch.arange(60).view(12, 5).half(),
        "experts": torch.arange(120).view(2, 12, 5).float(),
        "other": torch.ones(3),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return tensors_in(tmp_path / "model.safetensors")


def part(stored: dict[str, StoredTensor], name: str, piece: int, transposed: bool, rows: Rows | None) -> StoredPart:
    pieces = {"fused": 1, "experts": 2}[name]
    return StoredPart(stored[name], piece, pieces, transposed, rows)


CASES = [
    ("fused", 0, False, Rows(4, 8)),
    ("fused", 0, False, Rows(1, 3, 4, 3)),
    ("fused", 0, True, Rows(1, 2, 2, 2)),
    ("experts", 1, False, None),
    ("experts", 1, False, Rows(0, 6)),
    ("experts", 0, True, Rows(2, 4)),
]


@pytest.mark.parametrize(("name", "piece", "transposed", "rows"), CASES)
def test_it_is_as_a_tensor_of_its_own(
    stored: dict[str, StoredTensor], name: str, piece: int, transposed: bool, rows: Rows | None
) -> None:
    one = part(stored, name, piece, transposed, rows)
    whole = load_file(stored[name].file)[name]
    matrix = whole[piece] if whole.ndim == 3 else whole
    matrix = matrix.T if transposed else matrix
    expected = matrix if rows is None else matrix[list(rows)]
    assert one.fits
    assert torch.equal(one.tensor(), expected)
    assert (one.shape, one.size) == (tuple(expected.shape), expected.numel() * whole.element_size())
    assert one.sha256() == tensor_sha256(expected.contiguous())
    assert one.frobenius_norm() == pytest.approx(float(np.linalg.norm(expected.double().numpy())))


@pytest.mark.parametrize(("name", "piece", "transposed", "rows"), CASES)
def test_writing_it_leaves_every_other_byte(
    stored: dict[str, StoredTensor], name: str, piece: int, transposed: bool, rows: Rows | None
) -> None:
    one = part(stored, name, piece, transposed, rows)
    before = {key: values.clone() for key, values in load_file(stored[name].file).items()}
    values = -one.tensor() - 1
    one.write(values)
    after = load_file(stored[name].file)
    assert torch.equal(one.tensor(), values)
    for other in before.keys() - {name}:
        assert torch.equal(after[other], before[other])
    assert int((after[name] != before[name]).sum()) == values.numel()


def test_a_part_that_a_tensor_has_not(stored: dict[str, StoredTensor]) -> None:
    assert not StoredPart(stored["fused"], 0, 5).fits
    assert not StoredPart(stored["experts"], 2, 2).fits
    assert not StoredPart(stored["experts"], 0, 3).fits
    assert not StoredPart(stored["fused"], rows=Rows(4, 13)).fits
    assert not StoredPart(stored["other"]).fits
