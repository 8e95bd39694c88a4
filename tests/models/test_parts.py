"""Edits of parts of one weight, and of experts: side by side in one model, one file of factors, one adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from cti_edits.artifact.compose import Source, compose
from cti_edits.artifact.differences import differences
from cti_edits.artifact.manifest import Edit, load
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.errors import BaseMismatchError, EditError, FitError
from cti_edits.methods.added_low_rank import AddedLowRank
from cti_edits.models.apply import applied, apply
from cti_edits.models.export import export
from cti_edits.models.footprint import layer_size
from cti_edits.models.packing import pack
from cti_edits.models.peft_export import export_adapter
from cti_edits.models.targets import target_matrix
from cti_edits.report.edit_lines import manifest_lines
from studies.tiny import TINY
from studies.tiny.tokenizer import save_checkpoint
from tests.support.edits import edit_with, part_edits

GATE, UP = MatrixId(1, "U_in"), MatrixId(1, "U_up")
EXPERTS = (MatrixId(1, "U_in", expert=2), MatrixId(1, "U_up", expert=2), MatrixId(1, "U_in", expert=0))


def edit(model: Any, *places: MatrixId, name: str = "test") -> Edit:
    return edit_with(model, *part_edits(model, *places), name=name)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(5, 29).reshape(2, 12)).logits
    return found


def edited_logits(model: Any, made: Edit) -> torch.Tensor:
    with applied(made, model):
        return logits(model)


@pytest.mark.parametrize(("model_type", "places"), [("phi3", (GATE, UP)), ("mixtral", EXPERTS)])
def test_parts_of_one_parameter_are_edited_together_as_one_by_one(
    model_type: str, places: tuple[MatrixId, ...]
) -> None:
    model = TINY[model_type].build()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    together = apply(edit(model, *places), model)
    stored = target_matrix(model, places[0].matrix, 1, expert=places[0].expert).parameter.detach().clone()
    together.revert()
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    one_by_one = [apply(edit(model, place), model) for place in places]
    parameter = target_matrix(model, places[0].matrix, 1, expert=places[0].expert).parameter
    assert torch.equal(parameter, stored)
    for one in one_by_one:
        one.revert()
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


def test_the_hash_of_an_expert_is_over_its_own_matrix() -> None:
    model = TINY["mixtral"].build()
    made = edit(model, EXPERTS[0])
    with torch.no_grad():
        model.model.layers[1].mlp.experts.gate_up_proj[0] += 1
    apply(made, model).revert()
    with torch.no_grad():
        model.model.layers[1].mlp.experts.gate_up_proj[2, 5, 5] += 1
    with pytest.raises(BaseMismatchError, match=r"experts\.gate_up_proj is not the tensor that this edit was made for"):
        apply(made, model)


def test_other_rows_than_the_model_has_are_refused() -> None:
    model, made = TINY["phi3"].build(), edit(TINY["llama"].build(), UP)
    (one,) = part_edits(model, UP)
    with pytest.raises(
        FitError, match=r"edits\[0\]\.module: U_up of layer 1 is model\.layers\.1\.mlp\.gate_up_proj in"
    ):
        apply(edit_with(model, *made.edits), model)
    object.__setattr__(one, "rows", None)
    with pytest.raises(FitError, match=r"edits\[0\]\.rows: U_up of layer 1 is rows 48 to 95 of .*, the edit is of all"):
        apply(edit_with(model, one), model)


def test_edits_of_other_parts_compose_and_those_of_one_do_not(tmp_path: Path) -> None:
    model = TINY["mixtral"].build()
    sources = [Source(tmp_path / f"{number}.json", edit(model, place)) for number, place in enumerate(EXPERTS)]
    composed = compose(sources)
    assert [one.id for one in composed.edits] == sorted(EXPERTS)
    assert torch.equal(edited_logits(model, composed), edited_logits(model, edit(model, *EXPERTS)))
    composed.write(tmp_path / "composed.json")
    assert load(tmp_path / "composed.json").edits == composed.edits
    with pytest.raises(
        EditError, match=r"both change direction 0 of U_in of layer 1, expert 2 \(model\.layers\.1\.mlp"
    ):
        compose([sources[0], *sources])


def test_a_difference_names_the_expert() -> None:
    model = TINY["mixtral"].build()
    found = differences(edit(model, *EXPERTS[:2]), edit(model, *EXPERTS[1:]))
    assert [one.field for one in found if one.applied] == ["edits[U_in 1, expert 2]", "edits[U_in 1, expert 0]"]


def test_show_says_which_part_it_is() -> None:
    lines = dict(manifest_lines(edit(TINY["mixtral"].build(), EXPERTS[1])))
    assert "edit of U_up, layer 1, expert 2" in lines
    assert (lines["  module"], lines["  parameter"]) == ("model.layers.1.mlp.experts", "gate_up_proj")
    assert lines["  part"] == "rows 48 to 95"


@pytest.mark.parametrize(
    ("model_type", "places"), [("gpt_neox", (MatrixId(1, "W_q"), MatrixId(1, "W_v"))), ("mixtral", EXPERTS)]
)
def test_factors_and_an_exported_checkpoint(model_type: str, places: tuple[MatrixId, ...], tmp_path: Path) -> None:
    model = TINY[model_type].build()
    base = save_checkpoint(tmp_path / "base", model)
    made = edit_with(model, *part_edits(model, *places), base_id=str(base))
    expected = edited_logits(model, made)
    made.write(tmp_path / "edit.json")
    export(made, base, tmp_path / "exported")
    exported = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    assert torch.equal(logits(exported), expected)
    packed = pack(tmp_path / "edit.json")
    torch.testing.assert_close(edited_logits(model, load(tmp_path / "edit.json")), expected, rtol=1e-4, atol=1e-4)
    assert len({one.matrix_name for one in packed.edits}) == len(places)


@pytest.mark.parametrize("model_type", ["phi3", "gpt_neox"])
def test_two_parts_of_a_layer_run_beside_it_as_factors(model_type: str) -> None:
    model = TINY[model_type].build()
    places = (GATE, UP) if model_type == "phi3" else tuple(MatrixId(2, role) for role in ("W_q", "W_k", "W_v"))
    made = edit(model, *places)
    expected, plain = edited_logits(model, made), logits(model)
    module = model.get_submodule(made.edits[0].module)
    with applied(made, model, factorize=True) as in_force:
        assert in_force.factorized == (made.edits[0].module,)
        assert isinstance(model.get_submodule(made.edits[0].module), AddedLowRank)
        torch.testing.assert_close(logits(model), expected, rtol=1e-3, atol=1e-3)
    assert model.get_submodule(made.edits[0].module) is module
    assert torch.equal(logits(model), plain)


def test_experts_run_with_the_edited_matrix_where_factors_are_asked_for() -> None:
    model = TINY["mixtral"].build()
    made = edit(model, *EXPERTS)
    expected = edited_logits(model, made)
    with applied(made, model, factorize=True) as in_force:
        assert in_force.factorized == ()
        assert torch.equal(logits(model), expected)
    assert layer_size(made.edits[0]).factored == layer_size(made.edits[0]).dense


def test_an_adapter_has_zeros_for_the_other_parts(tmp_path: Path) -> None:
    model = TINY["gpt_neox"].build()
    base = save_checkpoint(tmp_path / "base", model)
    made = edit(model, MatrixId(1, "W_q"), MatrixId(1, "W_v"), MatrixId(0, "U_out"))
    expected = edited_logits(model, made)
    found = export_adapter(made, base, tmp_path / "adapter", str(base))
    assert len(set(found.edited)) == 2
    loaded = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-3, atol=1e-3)


def test_an_expert_is_no_layer_that_can_have_an_adapter(tmp_path: Path) -> None:
    model = TINY["mixtral"].build()
    base = save_checkpoint(tmp_path / "base", model)
    with pytest.raises(EditError, match=r"mlp\.experts\.gate_up_proj is no layer's weight, as an adapter needs it"):
        export_adapter(edit(model, EXPERTS[0]), base, tmp_path / "adapter", str(base))
