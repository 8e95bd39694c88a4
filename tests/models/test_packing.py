"""Writing the factors of an edit beside it, applying them, and dropping them again."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.artifact.manifest import load
from cti_edits.artifact.matrix_edits import Factors
from cti_edits.errors import BaseMismatchError, EditError, FactorsError, FitError
from cti_edits.linalg.factors import Block, weight_of_blocks
from cti_edits.models.apply import applied, apply, bind
from cti_edits.models.factor_file import read_factors
from cti_edits.models.packing import pack, unpack
from tests.support.checkpoints import weights
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model


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


def test_factors_do_not_take_the_place_of_the_check_of_the_base(packed: Path) -> None:
    with pytest.raises(BaseMismatchError):
        apply(load(packed), tiny_model("gpt2", seed=1))
    assert apply(load(packed), tiny_model("gpt2", seed=1), verify=False).verified is False
    bind(load(packed), tiny_model("gpt2"))


def test_a_packed_edit_is_applied_when_a_checkpoint_is_loaded(packed: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.bfloat16)
    edit = load(packed)
    apply(edit, model)
    expected = tiny_model("gpt2")
    apply(edit, expected)
    assert torch.equal(weights(model, edit)[0], weights(expected, edit)[0].bfloat16())
