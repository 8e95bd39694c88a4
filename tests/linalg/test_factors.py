"""Factors of an edited matrix, their exact product, and the file that they are in."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_edits.artifact.manifest import Edit, Factors, load, parse
from cti_edits.artifact.ranks import block_ranks
from cti_edits.errors import BaseMismatchError, EditError, FactorsError, FitError
from cti_edits.linalg.factors import (
    Block,
    LowRank,
    factored_blocks,
    is_smaller,
    low_rank,
    reproducible_product,
    weight_of_blocks,
)
from cti_edits.linalg.lowrank import truncate
from cti_edits.models.apply import applied, apply, bind, target_matrix
from cti_edits.models.factor_file import read_factors
from cti_edits.models.packing import pack, unpack
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SUBSPACES = "k-subspaces:" + "0120" * 12


def weight_of(shape: tuple[int, int], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.02).to(dtype)


# The product


def exact(left: torch.Tensor, right: torch.Tensor) -> list[list[Fraction]]:
    rows = [[Fraction(value) for value in row] for row in left.double().tolist()]
    columns = [[Fraction(value) for value in column] for column in right.double().T.tolist()]
    return [[sum((a * b for a, b in zip(row, column, strict=True)), Fraction()) for column in columns] for row in rows]


@st.composite
def factor_pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Of any magnitudes that float32 has, and of very different ones in one row."""
    rows, inner, columns = draw(st.integers(1, 5)), draw(st.integers(1, 20)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    pair = []
    for shape in ((rows, inner), (inner, columns)):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        exponents = torch.randint(-draw(st.integers(0, 60)) - 1, 1, shape, generator=generator)
        values = values * 2.0**exponents * (torch.rand(shape, generator=generator) > draw(st.sampled_from([0, 0.5])))
        pair.append(values.to(dtype))
    return pair[0], pair[1]


@settings(deadline=None, max_examples=150)
@given(factor_pairs(), st.randoms(use_true_random=False))
def test_the_product_is_near_the_exact_one_and_the_same_in_any_order(
    pair: tuple[torch.Tensor, torch.Tensor], order: Any
) -> None:
    left, right = pair
    found = reproducible_product(left, right)
    assert found.dtype == torch.float64
    rank = left.shape[1]
    bits = (53 - (rank - 1).bit_length()) // 2
    slices = 3 if left.dtype == torch.float64 else 2
    for row, values in enumerate(exact(left, right)):
        for column, value in enumerate(values):
            largest = float(left[row].abs().max()) * float(right[:, column].abs().max())
            bound = rank * largest * 2.0 ** (2 - slices * bits) + abs(float(value)) * 2.0**-51
            assert abs(Fraction(float(found[row, column])) - value) <= Fraction(bound)
    shuffled = list(range(rank))
    order.shuffle(shuffled)
    assert torch.equal(reproducible_product(left[:, shuffled], right[shuffled]), found)
    # Rows alone, as another machine may cut the matrix for its threads.
    assert torch.equal(torch.cat([reproducible_product(row[None], right) for row in left]), found)


def test_an_ordinary_product_depends_on_the_order() -> None:
    """Else the test above would show nothing."""
    left, right = torch.randn(50, 300, dtype=torch.float64), torch.randn(300, 50, dtype=torch.float64)
    assert not torch.equal(left.flip(1) @ right.flip(0), left @ right)
    assert torch.equal(reproducible_product(left.flip(1), right.flip(0)), reproducible_product(left, right))


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 511, 512, 513, 4096])
def test_no_partial_sum_of_slices_rounds(rank: int) -> None:
    """The largest values that a slice can have, all of one sign."""
    bits = (53 - (rank - 1).bit_length()) // 2
    largest = 1.0 - 2.0**-bits
    left, right = (torch.full(shape, largest, dtype=torch.float64) for shape in ((3, rank), (rank, 2)))
    assert Fraction(float(reproducible_product(left, right)[0, 0])) == rank * Fraction(largest) ** 2


@pytest.mark.parametrize("rank", [2, 64, 512])
def test_sums_near_the_largest_are_the_same_in_any_order(rank: int) -> None:
    """All of one sign, so that one more bit in a slice would make partial sums round."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(40, rank, generator=generator, dtype=torch.float64) / 8 + 0.875
    right = torch.rand(rank, 40, generator=generator, dtype=torch.float64) / 8 + 0.875
    found = reproducible_product(left, right)
    one_by_one = torch.zeros_like(found)
    for _ in range(5):
        order = torch.randperm(rank, generator=generator)
        assert torch.equal(reproducible_product(left[:, order], right[order]), found)
    for number in range(rank):
        one_by_one += left[:, number, None] * right[None, number]
    torch.testing.assert_close(found, one_by_one, rtol=1e-13, atol=0)


def test_a_row_of_zeros_and_the_smallest_numbers() -> None:
    left = torch.tensor([[0.0, 0.0], [1e-45, 1e-45], [-0.0, 3e38]])
    right = torch.tensor([[1e-45, 0.0], [1e-45, 3e38]])
    found = reproducible_product(left, right)
    expected = left.double() @ right.double()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


THREADS = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
from cti_edits.linalg.factors import weight_of_blocks
blocks = torch.load(sys.argv[2], weights_only=False)
sys.stdout.buffer.write(weight_of_blocks(blocks, 300, torch.float32).numpy().tobytes())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads_or_the_processor_s_instructions(tmp_path: Path) -> None:
    weight = weight_of((300, 200), torch.float32)
    blocks = factored_blocks(weight, block_ranks((300, 200), 2, 0.2))
    torch.save(blocks, tmp_path / "blocks.pt")
    expected = weight_of_blocks(blocks, 300, torch.float32).numpy().tobytes()
    for threads, instructions in (("1", "default"), ("2", "avx2"), ("2", "default")):
        environment = {**os.environ, "ATEN_CPU_CAPABILITY": instructions, "MKL_CBWR": "COMPATIBLE"}
        words = [sys.executable, "-c", THREADS, threads, str(tmp_path / "blocks.pt")]
        done = subprocess.run(words, capture_output=True, env=environment, check=True)
        assert done.stdout == expected


# Factors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("partition", ["row-blocks", SUBSPACES])
@pytest.mark.parametrize("shape", [(48, 100), (48, 20)])
@pytest.mark.parametrize("rho", [0.1, 0.3, 0.8, 1.0])
def test_factors_make_the_edited_matrix_within_the_rounding_of_its_dtype(
    rho: float, shape: tuple[int, int], partition: str, dtype: torch.dtype
) -> None:
    weight = weight_of(shape, dtype)
    ranks = block_ranks(shape, 3, rho, partition)
    blocks = factored_blocks(weight, ranks, partition)
    found = weight_of_blocks(blocks, shape[0], dtype, partition)
    expected = truncate(weight, ranks, partition=partition)
    assert found.dtype == dtype
    if rho == 1.0:
        assert torch.equal(found, weight)
    unit = torch.finfo(dtype).eps
    # Both are near the exact Ŵ: to half a unit of each number, and to some units of the largest where sums cancel.
    bound = unit * expected.abs().double() + (40 if dtype == torch.float64 else 2) * unit * float(expected.abs().max())
    assert bool(((found.double() - expected.double()).abs() <= bound).all())
    if dtype in (torch.float16, torch.bfloat16):
        assert float((found != expected).double().mean()) < 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_has_factors_only_where_they_have_fewer_numbers(dtype: torch.dtype) -> None:
    weight = weight_of((20, 10), dtype)
    for rank in range(1, 11):
        (block,) = factored_blocks(weight, [rank])
        if isinstance(block, LowRank):
            assert block.left.numel() + block.right.numel() < 200
            assert block.left.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        else:
            assert rank * 30 >= 200
            assert block.dtype == dtype
            assert torch.equal(block, truncate(weight, [rank]))
        assert isinstance(block, LowRank) == is_smaller(20, 10, rank)


def hard(kind: str, shape: tuple[int, int]) -> torch.Tensor:
    """Blocks of rank 3 at most that a Gram matrix does not see well, or not at all."""
    generator = torch.Generator().manual_seed(1)
    left = torch.linalg.qr(torch.randn(shape[0], 3, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(shape[1], 3, generator=generator, dtype=torch.float64))[0].T
    sizes = {"graded": [1.0, 1e-5, 1e-9], "zero": [0.0] * 3, "rank one": [1.0, 0, 0], "tied": [1.0, 1.0, 1.0]}[kind]
    block: torch.Tensor = (left * torch.tensor(sizes)) @ right
    return block


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (12, 12)])
@pytest.mark.parametrize("kind", ["graded", "zero", "rank one", "tied"])
def test_factors_of_blocks_with_few_singular_values(kind: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    block = hard(kind, shape).to(dtype)
    found = low_rank(block, 3)
    assert bool(found.left.isfinite().all() and found.right.isfinite().all())
    off = torch.linalg.vector_norm(found.left.double() @ found.right.double() - block.double())
    assert float(off) <= 8 * torch.finfo(dtype).eps * float(torch.linalg.vector_norm(block.double()))


# The file


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A packed edit of a tiny model in ``tmp_path / "base"``, of two matrices; every kind of block is in it."""
    save_checkpoint(tmp_path / "base", "gpt2")
    model = tiny_model("gpt2")
    places = (("U_in", 1, 2, 0.1), ("W_o", 2, 3, 0.7), ("W_o", 0, 2, 1.0))
    path = edit_of(model, *places, base_id=str(tmp_path / "base"), name="tiny").write(tmp_path / "tiny.json")
    pack(path)
    return path


def weights(model: Any, edit: Edit) -> list[torch.Tensor]:
    return [target_matrix(model, one.matrix, one.layer).weight.clone() for one in edit.edits]


def test_a_packed_edit_applies_its_factors_without_a_decomposition(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = load(packed)
    recipe = dataclasses.replace(edit, edits=tuple(dataclasses.replace(one, factors=None) for one in edit.edits))
    model = tiny_model("gpt2")
    former = weights(model, edit)
    with applied(recipe, model):
        expected = weights(model, edit)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("decomposed")

    for name in ("svd", "eigh", "qr"):
        monkeypatch.setattr(torch.linalg, name, refuse)
    in_force = apply(edit, model)
    assert in_force.verified
    found = weights(model, edit)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(found[2], former[2])
    assert not torch.equal(found[0], former[0])
    # The very product, in the place of the stored transpose.
    kept: list[Block] = [block for block in read_factors(edit)[edit.edits[0].module] if block is not None]
    assert torch.equal(found[0], weight_of_blocks(kept, 48, torch.float32))
    in_force.revert()
    assert all(torch.equal(one, other) for one, other in zip(weights(model, edit), former, strict=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_packed_edit_fits_the_base_in_other_dtypes(dtype: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "base", "llama")
    model = tiny_model("llama").to(getattr(torch, dtype))
    edit = edit_of(model, ("U_in", 1, 2, 0.2), base_id=str(tmp_path / "base"), name="tiny")
    path = edit.write(tmp_path / "tiny.json")
    pack(path)
    with applied(edit, model):
        expected = weights(model, edit)[0]
    apply(load(path), model)
    unit = torch.finfo(model.dtype).eps
    torch.testing.assert_close(
        weights(model, edit)[0], expected, rtol=unit, atol=(20 if dtype == "float64" else 2) * unit
    )


def test_packing_again_gives_the_same_bytes_and_unpacking_the_recipe(packed: Path) -> None:
    file = packed.with_name("tiny.safetensors")
    content, manifest, edit = file.read_bytes(), packed.read_bytes(), load(packed)
    factors = edit.edits[0].factors
    assert factors == Factors("tiny.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    pack(packed)
    assert (file.read_bytes(), packed.read_bytes()) == (content, manifest)
    assert unpack(packed) == (file,)
    assert not file.exists()
    recipe = load(packed)
    assert all(one.factors is None for one in recipe.edits)
    assert recipe.digest() != edit.digest()
    assert unpack(packed) == ()
    assert load(packed) == recipe
    pack(packed)
    assert packed.read_bytes() == manifest
    assert sorted(path.name for path in packed.parent.iterdir()) == ["base", "tiny.json", "tiny.safetensors"]


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


def test_a_wrong_base_is_not_packed(packed: Path, tmp_path: Path) -> None:
    unpack(packed)
    before = packed.read_bytes()
    save_checkpoint(tmp_path / "other", "gpt2", tiny_model("gpt2", seed=1))
    with pytest.raises(FitError, match=r"transformer\.h\.1\.mlp\.c_fc: sha256: .*expected .*, found "):
        pack(packed, str(tmp_path / "other"))
    with pytest.raises(EditError, match="no such folder"):
        pack(packed, str(tmp_path / "gone"))
    assert packed.read_bytes() == before
    assert not packed.with_name("tiny.safetensors").exists()


def test_another_file_in_the_way_stays(packed: Path) -> None:
    unpack(packed)
    target = packed.with_name("tiny.safetensors")
    target.write_text("mine")
    with pytest.raises(FactorsError, match="is there already and is not of this edit"):
        pack(packed)
    assert target.read_text() == "mine"
    target.unlink()
    target.symlink_to("elsewhere")
    with pytest.raises(FactorsError, match="is there already"):
        pack(packed)


def test_a_file_that_another_manifest_names_stays(packed: Path) -> None:
    load(packed).write(packed.with_name("copy.json"))
    assert unpack(packed) == ()
    assert unpack(packed.with_name("copy.json")) == (packed.with_name("tiny.safetensors"),)


def test_a_file_that_is_not_the_manifest_s_stays(packed: Path) -> None:
    packed.with_name("tiny.safetensors").write_text("mine")
    assert unpack(packed) == ()
    assert packed.with_name("tiny.safetensors").read_text() == "mine"


def test_an_edit_without_matrices_has_no_factors(tmp_path: Path) -> None:
    path = edit_of(tiny_model("gpt2"), name="none").write(tmp_path / "none.json")
    with pytest.raises(FactorsError, match="has no matrix edits"):
        pack(path)


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


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_damage_to_the_file_is_an_error_or_gives_the_blocks(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    model = tiny_model("gpt2")
    edit = edit_of(model, ("U_in", 1, 2, 0.1), name="tiny")
    (block, other) = factored_blocks(target_matrix(model, "U_in", 1).weight, edit.edits[0].block_ranks)
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


def test_factors_do_not_take_the_place_of_the_check_of_the_base(packed: Path) -> None:
    with pytest.raises(BaseMismatchError):
        apply(load(packed), tiny_model("gpt2", seed=1))
    assert apply(load(packed), tiny_model("gpt2", seed=1), verify=False).verified is False
    bind(load(packed), tiny_model("gpt2"))


def test_an_edit_parsed_from_bytes_has_no_folder_to_find_factors_in(packed: Path) -> None:
    edit = parse(packed.read_bytes())
    assert "the edit was read from no file" in refusal(packed, edit)


def test_a_packed_edit_is_applied_when_a_checkpoint_is_loaded(packed: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.bfloat16)
    edit = load(packed)
    apply(edit, model)
    expected = tiny_model("gpt2")
    apply(edit, expected)
    assert torch.equal(weights(model, edit)[0], weights(expected, edit)[0].bfloat16())
