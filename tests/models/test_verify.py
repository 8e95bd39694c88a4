"""Whether a checkpoint is the base of an edit, without a model. `cti-edits verify` prints what comes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cti_edits.artifact.asked import Asked, AskedModel
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import Factors
from cti_edits.errors import CheckpointError, FitError
from cti_edits.models.base_match import Verdict
from cti_edits.models.checkpoint import Config, open_checkpoint
from cti_edits.models.verify import TensorCheck, base_checkpoint, exit_code, stored_matrix, verify
from tests.support.edits import SEARCH, edit_of, entry, recorded
from tests.support.tiny_models import save_checkpoint, tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("base") / "inner", "gpt2")


@pytest.fixture(scope="module")
def edit(base: Path) -> Edit:
    return recorded(base, ("U_in", 1, 2, 0.2), ("W_o", 0, 1, 0.1))


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        (["ok", "ok"], 0),
        (["ok", "cannot tell"], 2),
        (["cannot tell", "does not fit"], 1),
        (["does not fit", "ok"], 1),
    ],
)
def test_the_worst_verdict_decides(verdicts: list[Verdict], code: int) -> None:
    assert exit_code([TensorCheck(entry(), verdict, "") for verdict in verdicts]) == code


def test_a_finding_for_each_matrix_in_the_edit_s_order(edit: Edit, base: Path) -> None:
    found = list(verify(edit, open_checkpoint(str(base))))
    assert [one.matrix_edit for one in found] == list(edit.edits)
    assert {one.verdict for one in found} == {"ok"}
    other = dataclasses.replace(edit.edits[1], sha256="0" * 64)
    found = list(verify(dataclasses.replace(edit, edits=(other, edit.edits[0])), open_checkpoint(str(base))))
    assert [one.verdict for one in found] == ["does not fit", "ok"]


def test_a_broken_file_of_factors_is_held_against_the_matrix_that_has_it_alone(edit: Edit, base: Path) -> None:
    first = dataclasses.replace(edit.edits[0], factors=Factors("gone.safetensors", "0" * 64, 8))
    broken = dataclasses.replace(edit, edits=(first, edit.edits[1]), path=base / "edit.json")
    one, two = verify(broken, open_checkpoint(str(base)))
    assert (one.verdict, two.verdict) == ("does not fit", "ok")
    assert "gone.safetensors: cannot be read" in one.why


def test_the_stored_matrix_has_the_orientation_of_its_family(edit: Edit, base: Path) -> None:
    stored, transposed = stored_matrix(edit, edit.edits[0], open_checkpoint(str(base)))
    assert (stored.shape, transposed) == ((32, 48), True)
    assert edit.edits[0].shape == (48, 32)
    turned = dataclasses.replace(edit.edits[0], shape=(32, 48))
    with pytest.raises(FitError, match=r"shape: the edit is for \[32, 48\] \(rows, columns\), .* has \[48, 32\]"):
        stored_matrix(edit, turned, open_checkpoint(str(base)))


def test_a_checkpoint_that_does_not_say_what_it_is(edit: Edit, base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"has no config\.json with a model_type"):
        stored_matrix(edit, edit.edits[0], open_checkpoint(str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": 7}')
    assert [one.verdict for one in verify(edit, open_checkpoint(str(tmp_path)))] == ["cannot tell"] * 2


def test_the_edit_s_own_subfolder_holds_for_its_own_base_alone(base: Path, tmp_path: Path) -> None:
    place = str(base.parent)
    search = dataclasses.replace(SEARCH, asked=Asked(model=AskedModel(pretrained=place, subfolder="inner")))
    edit = dataclasses.replace(edit_of(tiny_model("gpt2"), base_id=place), search=search)
    assert base_checkpoint(edit, None, None).config.model_type == "gpt2"
    assert base_checkpoint(edit, place, None).config.model_type == "gpt2"
    assert base_checkpoint(edit, place, None, subfolder="").config == Config()
    save_checkpoint(tmp_path / "flat", "llama")
    assert base_checkpoint(edit, str(tmp_path / "flat"), None).config.model_type == "llama"
