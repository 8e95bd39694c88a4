"""The file of factors beside a manifest: what is in it, and each way in which a stranger's can be wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.manifest import Edit, load, parse
from cti_edits.artifact.matrix_edits import Factors
from cti_edits.errors import FactorsError
from cti_edits.linalg.factors import LowRank, factored_blocks
from cti_edits.models.apply import apply, target_matrix
from cti_edits.models.factor_file import read_factors
from tests.support.checkpoints import weights
from tests.support.edits import cuts, edit_of
from tests.support.tiny_models import tiny_model


def test_the_file_names_its_tensors_by_module_and_block(packed: Path) -> None:
    names = safetensors.torch.load_file(packed.with_name("tiny.safetensors"))
    assert {name: tuple(tensor.shape) for name, tensor in names.items()} == {
        "transformer.h.1.mlp.c_fc.0.left": (24, 2),
        "transformer.h.1.mlp.c_fc.0.right": (2, 32),
        "transformer.h.1.mlp.c_fc.1.left": (24, 2),
        "transformer.h.1.mlp.c_fc.1.right": (2, 32),
        "transformer.h.2.attn.c_proj.0.left": (11, 7),
        "transformer.h.2.attn.c_proj.0.right": (7, 32),
        "transformer.h.2.attn.c_proj.1.left": (11, 7),
        "transformer.h.2.attn.c_proj.1.right": (7, 32),
        "transformer.h.2.attn.c_proj.2.left": (10, 7),
        "transformer.h.2.attn.c_proj.2.right": (7, 32),
    }


def refusal(path: Path, edit: Edit | None = None) -> str:
    """What is said of a wrong file, after which the model is as it was."""
    model = tiny_model("gpt2")
    edit = edit or load(path)
    former = weights(model, edit)
    with pytest.raises(FactorsError) as caught:
        apply(edit, model)
    assert str(caught.value).isprintable()
    assert all(torch.equal(one, other) for one, other in zip(weights(model, edit), former, strict=True))
    return str(caught.value)


def rewritten(packed: Path, content: bytes) -> Edit:
    """The manifest as a hostile author would write it for a file with ``content``."""
    target = packed.with_name("tiny.safetensors")
    target.unlink(missing_ok=True)
    target.write_bytes(content)
    edit = load(packed)
    factors = Factors("tiny.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    return dataclasses.replace(edit, edits=tuple(dataclasses.replace(one, factors=factors) for one in edit.edits))


def test_a_file_that_is_missing_or_no_plain_file_is_refused(packed: Path, tmp_path: Path) -> None:
    target = packed.with_name("tiny.safetensors")
    content = target.read_bytes()
    target.unlink()
    assert "tiny.safetensors: cannot be read: No such file" in refusal(packed)
    (tmp_path / "elsewhere").write_bytes(content)
    target.symlink_to(tmp_path / "elsewhere")
    assert "tiny.safetensors: cannot be read: is a link" in refusal(packed)
    target.unlink()
    target.mkdir()
    assert "expected a regular file" in refusal(packed)
    target.rmdir()
    os.mkfifo(target)
    assert "expected a regular file" in refusal(packed)


def test_a_file_of_another_size_or_hash_is_refused(packed: Path) -> None:
    target = packed.with_name("tiny.safetensors")
    content = target.read_bytes()
    target.write_bytes(content + b"x")
    assert f".size: {target}: expected {len(content):,} bytes, found {len(content) + 1:,}" in refusal(packed)
    target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f".sha256: {target}: expected {hashlib.sha256(content).hexdigest()}, found " in refusal(packed)


@pytest.mark.parametrize("name", ["../tiny.safetensors", "/tiny.safetensors", "a/b.safetensors", "..", "", "a\\b"])
def test_a_path_is_refused_even_in_an_edit_made_in_python(name: str, packed: Path) -> None:
    edit = load(packed)
    one = dataclasses.replace(edit.edits[0], factors=Factors(name, "0" * 64, 8))
    assert "factors.file: expected text that matches" in refusal(packed, dataclasses.replace(edit, edits=(one,)))


FIRST = "transformer.h.1.mlp.c_fc.0.left"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({FIRST: None}, f"the file has no tensor {FIRST}"),
        ({FIRST: torch.zeros(2, 24)}, f"{FIRST}: expected [24, 2] of float32 or float64, got [2, 24] of float32"),
        ({FIRST: torch.zeros(24, 3)}, f"{FIRST}: expected [24, 2] of float32 or float64, got [24, 3] of float32"),
        ({FIRST: torch.zeros(48)}, f"{FIRST}: expected [24, 2] of float32 or float64, got [48] of float32"),
        ({FIRST: torch.zeros(24, 2).half()}, "got [24, 2] of float16"),
        ({FIRST: torch.zeros(24, 2, dtype=torch.int64)}, "got [24, 2] of int64"),
        ({FIRST: torch.full((24, 2), float("nan"))}, f"{FIRST}: holds NaN or infinite values"),
        ({FIRST: torch.full((24, 2), float("-inf"))}, f"{FIRST}: holds NaN or infinite values"),
        ({"transformer.h.1.mlp.c_fc.2.left": torch.zeros(1)}, "which the edit has no use for"),
        ({"transformer.h.1.mlp.c_fc.0.dense": torch.zeros(24, 32)}, "which the edit has no use for"),
        ({"transformer.h.1.mlp.c_fc.esc\x1b[31m": torch.zeros(1)}, "c_fc.esc\\x1b[31m, which the edit has no use for"),
    ],
)
def test_a_file_that_does_not_hold_the_edit_s_blocks_is_refused(
    change: dict[str, torch.Tensor | None], message: str, packed: Path
) -> None:
    tensors = safetensors.torch.load_file(packed.with_name("tiny.safetensors"))
    changed = {name: value for name, value in {**tensors, **change}.items() if value is not None}
    assert message in refusal(packed, rewritten(packed, safetensors.torch.save(changed)))


def header(entry: object) -> bytes:
    text = json.dumps(entry).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"\x80\x04pickle",
        (2**63).to_bytes(8, "little") + b"{}",
        header({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}),
        header({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}) + b"12345678",
        header({"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}) + b"12345678",
        header([]),
        header({"w": {"dtype": "F7", "shape": [2], "data_offsets": [0, 8]}}) + b"12345678",
        header({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}) + b"1",
    ],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, packed: Path) -> None:
    message = refusal(packed, rewritten(packed, content))
    assert "not a safetensors file" in message or "the file has no tensor" in message


@given(data=st.data())
def test_any_damage_to_the_file_is_an_error_or_gives_the_blocks(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    model = tiny_model("gpt2")
    edit = edit_of(model, ("U_in", 1, 2, 0.1), name="tiny")
    (block, other) = factored_blocks(target_matrix(model, "U_in", 1).weight, cuts(edit)[0].block_ranks)
    assert isinstance(block, LowRank)
    assert isinstance(other, LowRank)
    names = {"0.left": block.left, "0.right": block.right, "1.left": other.left, "1.right": other.right}
    content = bytearray(
        safetensors.torch.save({f"{edit.edits[0].module}.{key}": value for key, value in names.items()})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) // 4))] = data.draw(st.integers(0, 255))
    factors = Factors("tiny.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    one = dataclasses.replace(edit.edits[0], factors=factors)
    (folder / "tiny.safetensors").write_bytes(content)
    with contextlib.suppress(FactorsError):
        found = read_factors(dataclasses.replace(edit, edits=(one,), path=folder / "tiny.json"))
        assert all(isinstance(block, LowRank) for block in found[edit.edits[0].module])


def test_an_edit_parsed_from_bytes_has_no_folder_to_find_factors_in(packed: Path) -> None:
    edit = parse(packed.read_bytes())
    assert "the edit was read from no file" in refusal(packed, edit)
