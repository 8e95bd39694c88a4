"""Former weights take memory only where something restores them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from cti_edits.errors import EditError
from cti_edits.harness.lm import EditedLM
from cti_edits.models.apply import apply, target_matrix
from tests.support.edits import edit_of
from tests.support.tiny_models import save_checkpoint, tiny_model


def held() -> int:
    """Bytes of all tensors that are alive, each storage once."""
    gc.collect()
    storages = {}
    for one in gc.get_objects():
        # Not those of a subclass, which torch.compile has in other tests: they have no storage.
        if type(one) in (torch.Tensor, torch.nn.Parameter) and one.device.type == "cpu":
            storage = one.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


@pytest.mark.parametrize("factorize", [False, True])
@pytest.mark.parametrize("revertible", [False, True])
def test_former_weights_are_kept_only_where_something_restores_them(revertible: bool, factorize: bool) -> None:
    model = tiny_model("llama")
    edit = edit_of(model, ("U_in", 0, 2, 0.2), ("U_out", 1, 2, 0.2))
    matrices = sum(target_matrix(model, one.matrix, one.layer).parameter.nbytes for one in edit.edits)
    module = model.get_submodule(edit.edits[0].module)
    former = weakref.ref(module)
    del module
    before = held()
    in_force = apply(edit, model, factorize=factorize, revertible=revertible)
    added = held() - before
    if factorize:
        assert (former() is not None) == revertible
        assert (added > 0) == revertible
    else:
        assert added == (matrices if revertible else 0)
    if not revertible:
        with pytest.raises(EditError, match="cannot be reverted, the former weights were dropped"):
            in_force.revert()


@pytest.mark.parametrize("factorize", [False, True])
def test_the_lm_eval_model_keeps_no_former_weights(factorize: bool, tmp_path: Path) -> None:
    path = edit_of(tiny_model("llama"), ("U_in", 1, 2, 0.2)).write(tmp_path / "edit.json")
    save_checkpoint(tmp_path / "base", "llama")
    sizes = []
    for edit in (None, str(path)):
        before = held()
        lm = EditedLM(edit=edit, pretrained=str(tmp_path / "base"), dtype="float32", device="cpu", factorize=factorize)
        sizes.append(held() - before)
        del lm
    base, edited = sizes
    assert edited < base if factorize else edited == base
