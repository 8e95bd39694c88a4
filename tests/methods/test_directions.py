"""The method ``directions``: its functions against numpy, and its way through models, files and checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.artifact.compose import Source, compose
from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.matrix_edits import DirectionsEdit, Factors
from cti_edits.artifact.ranks import full_ranks
from cti_edits.errors import BaseMismatchError, FactorsError, FitError
from cti_edits.linalg.factors import LowRank
from cti_edits.methods.added_low_rank import AddedLowRank
from cti_edits.methods.directions import (
    block_forms,
    edited_weight,
    factored_layer,
    factors,
    kept_parameters,
    runs_as_factors,
)
from cti_edits.methods.method import BlockForm
from cti_edits.models.apply import AppliedEdit, applied, apply, target_matrix
from cti_edits.models.checkpoint import open_checkpoint
from cti_edits.models.export import export
from cti_edits.models.packing import pack, unpack
from cti_edits.models.verify import verify
from tests.support.edits import directions, directions_of, edit_with, matrix_edit
from tests.support.matrices import random_block
from tests.support.tiny_models import EVERY, save_checkpoint, tiny_model

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SHAPE = (48, 32)
TOKENS = torch.arange(8, 24)[None]
Chosen = Mapping[tuple[int, int], float]


def of_weight(W: torch.Tensor, chosen: Chosen, clusters: int = 1) -> DirectionsEdit:
    """An edit of ``W``, from each direction (k, i) to its factor."""
    places = sorted(chosen)
    spectra = [np.linalg.svd(block, compute_uv=False) for block in np.array_split(W.double().numpy(), clusters)]
    return directions(
        shape=(W.shape[0], W.shape[1]),
        clusters=clusters,
        block=tuple(block for block, _ in places) if clusters > 1 else None,
        index=tuple(index for _, index in places),
        scale=tuple(chosen[place] for place in places),
        sigma=tuple(float(spectra[block][index]) for block, index in places),
    )


def plainly(W: torch.Tensor, chosen: Chosen, clusters: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Ŵ in float64 by numpy: each block's singular values times their factors."""
    found = []
    for number, block in enumerate(np.array_split(W.double().numpy(), clusters)):
        U, sigma, Vh = np.linalg.svd(block, full_matrices=False)
        scale = np.array([chosen.get((number, index), 1.0) for index in range(len(sigma))])
        found.append((U * (sigma * scale)) @ Vh)
    return np.concatenate(found)


ONE: Chosen = {(0, 0): 1.5, (0, 3): 0.0, (0, 31): -2.0}
BLOCKS: Chosen = {(0, 0): 0.5, (0, 9): 3.0, (2, 1): -1.0, (4, 8): 1.0}
"""Of 48 rows in 5 blocks: blocks 1 and 3 keep the base's bits."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("chosen", "clusters"), [(ONE, 1), (BLOCKS, 5)])
def test_the_singular_values_that_are_named_get_their_factors(
    chosen: Chosen, clusters: int, dtype: torch.dtype
) -> None:
    W = random_block(*SHAPE, dtype)
    former = W.clone()
    found = edited_weight(W, of_weight(W, chosen, clusters))
    assert (found.dtype, found.shape) == (dtype, W.shape)
    unit = torch.finfo(dtype).eps
    # In float64 the two come of two decompositions.
    atol = 1e-14 if dtype == torch.float64 else unit * 0.02
    np.testing.assert_allclose(found.double().numpy(), plainly(W, chosen, clusters), rtol=unit / 2, atol=atol)
    assert torch.equal(W, former)


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(DTYPES), st.integers(0, 2**32 - 1), st.data())
def test_any_shape_block_direction_and_factor(
    rows: int, columns: int, dtype: torch.dtype, seed: int, data: st.DataObject
) -> None:
    clusters = data.draw(st.integers(1, rows))
    every = [
        (block, index) for block, full in enumerate(full_ranks((rows, columns), clusters)) for index in range(full)
    ]
    places = data.draw(st.sets(st.sampled_from(every), min_size=1))
    chosen = {place: data.draw(st.sampled_from([0.0, 1.0, -1.0, 0.25, 7.0, -300.0])) for place in sorted(places)}
    W = random_block(rows, columns, dtype, seed)
    one = of_weight(W, chosen, clusters)
    expected = plainly(W, chosen, clusters)
    unit, size = torch.finfo(dtype).eps, float(np.linalg.norm(expected)) + float(W.double().norm())
    for packed in (None, factors(W, one)):
        found = edited_weight(W, one, packed).double().numpy()
        # Neighbours may be close, which a decomposition in float64 sees as 1e-9 at worst here.
        np.testing.assert_allclose(found, expected, rtol=unit, atol=(unit + 1e-9) * size)


def test_blocks_without_directions_and_factors_of_1_keep_the_bits() -> None:
    for dtype in DTYPES:
        W = random_block(*SHAPE, dtype)
        W[20, 3] = -0.0
        found = edited_weight(W, of_weight(W, BLOCKS, 5))
        same = [torch.equal(one, other) for one, other in zip(found.tensor_split(5), W.tensor_split(5), strict=True)]
        assert same == [False, True, False, True, True]
        identity = of_weight(W, {(0, 2): 1.0, (0, 31): 1.0})
        for packed in (None, factors(W, identity)):
            assert torch.equal(edited_weight(W, identity, packed).view(torch.uint8), W.view(torch.uint8))


def test_what_a_file_of_factors_has_of_each_block() -> None:
    W = random_block(*SHAPE, torch.float32)
    forms = block_forms(of_weight(W, BLOCKS, 5))
    assert forms == [
        BlockForm(10, 2),
        BlockForm(10, None, unchanged=True),
        BlockForm(10, 1),
        BlockForm(9, None, unchanged=True),
        BlockForm(9, 1),
    ]
    found = factors(W, of_weight(W, BLOCKS, 5))
    assert [None if one is None else (one.left.shape, one.right.shape) for one in lows(found)] == [
        ((10, 2), (2, 32)), None, ((10, 1), (1, 32)), None, ((9, 1), (1, 32))
    ]  # fmt: skip


def lows(packed: Any) -> list[LowRank | None]:
    assert all(one is None or isinstance(one, LowRank) for one in packed)
    return list(packed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_are_those_of_the_difference_in_at_least_float32(dtype: torch.dtype) -> None:
    W = random_block(*SHAPE, dtype)
    one = of_weight(W, ONE)
    (low,) = lows(factors(W, one))
    assert low is not None
    assert low.left.dtype == low.right.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    added = plainly(W, ONE) - W.double().numpy()
    np.testing.assert_allclose((low.left.double() @ low.right.double()).numpy(), added, atol=3e-8)
    assert np.linalg.matrix_rank(added, tol=1e-8) == len(ONE)


def test_how_many_numbers_the_factors_take_beside_the_matrix() -> None:
    assert kept_parameters(directions()) == 48 * 32 + 2 * (48 + 32)
    one = directions(clusters=5, block=(0, 0, 4), index=(0, 1, 0), scale=(2, 2, 2), sigma=(2, 1, 1))
    assert kept_parameters(one) == 48 * 32 + 2 * (10 + 32) + (9 + 32)
    assert runs_as_factors(one)
    # 19 (48 + 32) < 48 · 32 < 20 (48 + 32): a second dense matrix has no more.
    for count, worth_it in ((19, True), (20, False), (32, False)):
        many = directions(index=tuple(range(count)), scale=(2,) * count, sigma=(1,) * count)
        assert runs_as_factors(many) is worth_it
        assert kept_parameters(many) == 48 * 32 + (count * 80 if worth_it else 0)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")])
def test_factors_beyond_what_the_dtype_holds_are_refused(dtype: torch.dtype, most: str) -> None:
    W = (random_block(*SHAPE, torch.float64) * (1e3 if dtype == torch.float16 else 1e34)).to(dtype)
    one = of_weight(W, {(0, 0): 1e6})
    layer = torch.nn.Linear(32, 48, dtype=dtype)
    layer.weight = torch.nn.Parameter(W)
    expected = f"^scale: the factors are so large that the edited weight is beyond what {most} holds$"
    for make in (
        lambda: edited_weight(W, one),
        lambda: edited_weight(W, one, factors(W, one)),
        lambda: factored_layer(W, one, layer),
    ):
        with pytest.raises(FitError, match=expected):
            make()


# Wrong or ambiguous bases


def test_a_wrong_base_and_the_block_it_is_in_are_named() -> None:
    W = random_block(*SHAPE, torch.float32)
    one, several = of_weight(W, ONE), of_weight(W, BLOCKS, 5)
    other = dataclasses.replace(one, sigma=(one.sigma[0], *(value / 2 for value in one.sigma[1:])))
    with pytest.raises(FitError, match=r"^sigma: the edit was made where singular value 3 is .* another base"):
        edited_weight(W, other)
    other = dataclasses.replace(several, sigma=(*several.sigma[:2], several.sigma[2] * 1.01, several.sigma[3]))
    for make in (edited_weight, factors):
        with pytest.raises(FitError, match=r"^row block 2: sigma: the edit was made where singular value 1 is "):
            make(W, other)


def test_equal_singular_values_are_edited_alike_or_not_at_all() -> None:
    """The rows of a Hadamard matrix are alike in length: all of its singular values are 2."""
    W = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    alike = of_weight(W, {(0, index): 1.5 for index in range(4)})
    assert torch.allclose(edited_weight(W, alike), 1.5 * W)
    with pytest.raises(FitError, match=r"^index: the singular values 1 and 2, 2 and 2, are too close to tell"):
        edited_weight(W, of_weight(W, {(0, 0): 1.5, (0, 1): 1.5}))


# On models


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(tensor.view(torch.uint8), other[name].view(torch.uint8)) for name, tensor in one.items()
    )


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=TOKENS).logits
    return found


def edit_for(model: Any, **changes: Any) -> Edit:
    """Directions of a matrix, of row blocks of another, and a rank cut."""
    return edit_with(
        model,
        directions_of(model, "U_in", 1, {(0, 0): 1.5, (0, 2): 0.0, (0, 31): -2.0}),
        directions_of(model, "U_out", 2, {(0, 0): 0.5, (2, 1): 3.0}, clusters=3),
        matrix_edit(model, "W_o", 0, 2, 0.25),
        **changes,
    )


@pytest.mark.parametrize("model_type", EVERY)
def test_applied_run_as_factors_and_reverted_in_every_family(model_type: str) -> None:
    """In float64, so that all but a few last digits agree. gpt2 stores its matrices transposed."""
    model = tiny_model(model_type).double()
    edit = edit_for(model)
    former, plain, count = state(model), logits(model), parameters(model)
    expected = {
        one.module: plainly(target_matrix(model, one.matrix, one.layer).weight, chosen, clusters)
        for one, chosen, clusters in (
            (edit.edits[0], {(0, 0): 1.5, (0, 2): 0.0, (0, 31): -2.0}, 1),
            (edit.edits[1], {(0, 0): 0.5, (2, 1): 3.0}, 3),
        )
    }
    with applied(edit, model) as in_force:
        assert in_force.verified
        for one in edit.edits[:2]:
            weight = target_matrix(model, one.matrix, one.layer).weight
            np.testing.assert_allclose(weight.numpy(), expected[one.module], atol=1e-12)
        dense = logits(model)
    assert same(state(model), former)
    assert not torch.equal(dense, plain)
    modules = dict(model.named_modules())
    in_force = apply(edit, model, factorize=True)
    assert in_force.factorized == tuple(one.module for one in edit.edits)
    torch.testing.assert_close(logits(model), dense, rtol=1e-9, atol=1e-9)
    for one in edit.edits[:2]:
        layer = model.get_submodule(one.module)
        assert isinstance(layer, AddedLowRank)
        # The base's own weight, no copy of it, and two thin factors.
        assert layer.weight is modules[one.module].weight
        beside = sum(form.rank * (form.rows + one.shape[1]) for form in block_forms(one) if form.rank)
        assert parameters(layer) == parameters(modules[one.module]) + beside
    assert parameters(model) < count + 32 * 48
    in_force.revert()
    assert same(state(model), former)
    assert torch.equal(logits(model), plain)
    assert all(model.get_submodule(name) is module for name, module in modules.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_a_factored_run_is_near_the_dense_one_in_its_dtype(model_type: str, dtype: torch.dtype) -> None:
    model = tiny_model(model_type, spread=0.05).to(dtype)
    edit = edit_for(model)
    with applied(edit, model):
        expected = logits(model)
    with applied(edit, model, factorize=True):
        found = logits(model)
    unit = torch.finfo(dtype).eps
    torch.testing.assert_close(found, expected, rtol=0, atol=8 * unit * float(expected.abs().max()))


def test_many_directions_are_edited_as_a_dense_matrix() -> None:
    model = tiny_model("llama")
    every = directions_of(model, "U_in", 1, {(0, index): 2.0 for index in range(32)})
    in_force = apply(edit_with(model, every), model, factorize=True)
    assert in_force.factorized == ()


def refused(model: Any, edit: Edit, kind: type[Exception], **options: Any) -> str:
    former = state(model)
    with pytest.raises(kind) as caught:
        apply(edit, model, **options)
    assert same(state(model), former)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_does_not_fit_leaves_every_matrix_as_it_was() -> None:
    model = tiny_model("llama")
    edit = edit_for(model)
    first, second, third = edit.edits
    assert isinstance(second, DirectionsEdit)
    halved = dataclasses.replace(second, sigma=tuple(value / 2 for value in second.sigma))
    for factorize in (False, True):
        changed = dataclasses.replace(edit, edits=(first, halved, third))
        assert refused(model, changed, FitError, factorize=factorize).startswith(
            "test: edits[1]: row block 0: sigma: the edit was made where singular value 0 is "
        )
    # Another base: told by the hash first, and by the values where one does not look at that.
    other = tiny_model("llama", seed=1)
    assert "sha256" in refused(other, edit, BaseMismatchError)
    assert "edits[0]: sigma: the edit was made where" in refused(other, edit, FitError, verify=False)
    half = tiny_model("llama").half()
    assert "another base, or one in another dtype" in refused(half, edit, FitError, verify=False)


# Files


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """An edit of a gpt2 checkpoint beside its factors."""
    folder = save_checkpoint(tmp_path / "base", "gpt2")
    model = tiny_model("gpt2")
    path = edit_for(model, base_id=str(folder), name="tiny").write(tmp_path / "tiny.json")
    pack(path)
    return path


def test_the_file_has_the_factors_of_each_block_that_changes(packed: Path) -> None:
    tensors = safetensors.torch.load_file(packed.with_name("tiny.safetensors"))
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items() if "mlp" in name} == {
        "transformer.h.1.mlp.c_fc.0.left": (48, 3),
        "transformer.h.1.mlp.c_fc.0.right": (3, 32),
        "transformer.h.2.mlp.c_proj.0.left": (11, 1),
        "transformer.h.2.mlp.c_proj.0.right": (1, 48),
        "transformer.h.2.mlp.c_proj.2.left": (10, 1),
        "transformer.h.2.mlp.c_proj.2.right": (1, 48),
    }
    content, manifest = packed.with_name("tiny.safetensors").read_bytes(), packed.read_bytes()
    pack(packed)
    assert (packed.with_name("tiny.safetensors").read_bytes(), packed.read_bytes()) == (content, manifest)
    recipe = edit_for(tiny_model("gpt2"), base_id=str(packed.parent / "base"), name="tiny")
    unpack(packed)
    assert load(packed) == recipe


def test_factors_apply_without_a_decomposition_dense_and_factored(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = load(packed)
    recipe = dataclasses.replace(edit, edits=tuple(dataclasses.replace(one, factors=None) for one in edit.edits))
    model = tiny_model("gpt2")
    former, places = state(model), [(one.matrix, one.layer) for one in edit.edits]

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("decomposed")

    with applied(recipe, model):
        expected = [target_matrix(model, *place).weight.clone() for place in places]
        dense = logits(model)
    for name in ("svd", "eigh", "qr"):
        monkeypatch.setattr(torch.linalg, name, refuse)
    with applied(edit, model):
        for place, weight in zip(places, expected, strict=True):
            torch.testing.assert_close(target_matrix(model, *place).weight, weight, rtol=1e-6, atol=1e-7)
    with applied(edit, model, factorize=True):
        torch.testing.assert_close(logits(model), dense, rtol=0, atol=1e-5 * float(dense.abs().max()))
    assert same(state(model), former)


def hostile(packed: Path, change: Any) -> str:
    """What is said of a file with other tensors, whose hash the manifest has."""
    target = packed.with_name("tiny.safetensors")
    tensors = safetensors.torch.load_file(target)
    change(tensors)
    content = safetensors.torch.save(tensors)
    target.write_bytes(content)
    edit = load(packed)
    named = Factors("tiny.safetensors", hashlib.sha256(content).hexdigest(), len(content))
    changed = dataclasses.replace(edit, edits=tuple(dataclasses.replace(one, factors=named) for one in edit.edits))
    message = refused(tiny_model("gpt2"), changed, FactorsError)
    assert [one.verdict for one in verify(changed, open_checkpoint(edit.base_model.id))] == ["does not fit"] * 3
    return message


FC, PROJ = "transformer.h.1.mlp.c_fc", "transformer.h.2.mlp.c_proj"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{FC}.0.right"), f"edits[0].factors: the file has no tensor {FC}.0.right"),
        (lambda t: t.update({f"{FC}.0.left": torch.zeros(48, 4)}),
         f"edits[0].factors: {FC}.0.left: expected [48, 3] of float32 or float64, got [48, 4] of float32"),
        (lambda t: t.update({f"{FC}.0.left": torch.zeros(48, 3).half()}),
         f"edits[0].factors: {FC}.0.left: expected [48, 3] of float32 or float64, got [48, 3] of float16"),
        (lambda t: t.update({f"{PROJ}.2.left": torch.full((10, 1), torch.nan)}),
         f"edits[1].factors: {PROJ}.2.left: holds NaN or infinite values"),
        (lambda t: t.update({f"{PROJ}.1.left": torch.zeros(11, 1)}),
         f"edits[1].factors: the file has the tensor {PROJ}.1.left, which the edit has no use for"),
        (lambda t: t.update({f"{PROJ}.0.dense": torch.zeros(11, 48)}),
         f"edits[1].factors: the file has the tensor {PROJ}.0.dense, which the edit has no use for"),
    ],
    ids=["missing", "shape", "dtype", "nan", "unchanged block", "dense"],
)  # fmt: skip
def test_a_file_of_other_factors_is_refused(change: Any, said: str, packed: Path) -> None:
    assert hostile(packed, change) == f"tiny: {said}"


def test_factors_that_make_a_weight_infinite_are_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "base", "llama", tiny_model("llama").half())
    model = tiny_model("llama").half()
    one = directions_of(model, "U_in", 1, {(0, 0): 1e6})
    path = edit_with(model, one, base_id=str(folder), name="tiny").write(tmp_path / "tiny.json")
    assert refused(model, load(path), FitError).startswith("tiny: edits[0]: scale: the factors are so large")
    pack(path)
    assert refused(model, load(path), FitError).startswith("tiny: edits[0]: scale: the factors are so large")


@pytest.mark.parametrize("with_factors", [False, True])
def test_an_export_has_the_very_bytes_that_apply_gives(with_factors: bool, packed: Path) -> None:
    if not with_factors:
        unpack(packed)
    edit, target = load(packed), packed.parent / "exported"
    export(edit, Path(edit.base_model.id), target)
    model = tiny_model("gpt2")
    apply(edit, model)
    loaded = type(model).from_pretrained(target)
    assert same(state(loaded), state(model))
    text = (target / "README.md").read_text(encoding="utf-8")
    assert f"| `{FC}.weight` | directions | 3 directions, scale -2 to 1.5 |" in text
    assert f"| `{PROJ}.weight` | directions | 2 directions, K 3, scale 0.5 to 3 |" in text
    assert "| block-svd | rho 0.25, K 2, " in text


def test_a_checkpoint_is_verified_by_the_hashes(packed: Path, tmp_path: Path) -> None:
    edit = load(packed)
    assert [one.verdict for one in verify(edit, open_checkpoint(edit.base_model.id))] == ["ok"] * 3
    other = save_checkpoint(tmp_path / "other", "gpt2", tiny_model("gpt2", seed=1))
    found = list(verify(edit, open_checkpoint(str(other))))
    assert [one.verdict for one in found] == ["does not fit"] * 3
    assert "sha256" in found[0].why


# Compositions


def test_applying_a_composition_is_applying_all_of_its_directions_at_once() -> None:
    model = tiny_model("llama").double()
    parts: list[Chosen] = [{(0, 0): 1.5, (0, 7): 0.0}, {(0, 3): -1.0}, {(0, 31): 4.0}]
    edits = [edit_with(model, directions_of(model, "U_in", 1, part), name=f"part-{n}") for n, part in enumerate(parts)]
    sources = [Source(Path(f"{one.name}.json"), one) for one in edits]
    weight = target_matrix(model, "U_in", 1).weight.clone()
    expected = plainly(weight, {place: scale for part in parts for place, scale in part.items()})
    composed = [compose(order) for order in itertools.permutations(sources)]
    assert len({one.digest() for one in composed}) == 1
    in_force: AppliedEdit = apply(composed[0], model)
    np.testing.assert_allclose(target_matrix(model, "U_in", 1).weight.numpy(), expected, atol=1e-12)
    in_force.revert()
    # One after the other is another thing: the first edit's values are not the base's any more.
    with applied(edits[0], model), pytest.raises(BaseMismatchError):
        apply(edits[1], model)
