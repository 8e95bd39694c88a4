"""Whole searches of mixtures of experts and of fused weights; the winner applies to the checkpoint that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cti_edits.harness.lm import EditedLM
from cti_edits.search.api import search
from studies.tiny import TINY
from studies.tiny.tokenizer import save_checkpoint
from tests.support.small_searches import Notes

ROWS = [{"prompt": f"Is thing {n} red?", "choices": ["yes", "no"], "gold": n * n % 3 % 2} for n in range(9)]
CUTS: dict[str, Any] = {"preset": "cl-100g-100e", "top_q": 2, "clusters": (1, 2), "rates": (0.6, 0.2)}
STEP: dict[str, Any] = {"preset": "sigma-step", "directions": (16,), "drops": (0.3, 1.0)}
FIT: dict[str, Any] = {"preset": "sigma-fit", "directions": (8,), "epochs": 2}


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [("mixtral", CUTS), ("mixtral", STEP), ("gpt_oss", FIT), ("phi3", {**STEP, "matrices": ("U_up", "W_k")})],
    ids=["mixtral cuts", "mixtral step", "gpt_oss fit", "phi3 step"],
)
def test_a_search_ends_and_its_winner_applies(model_type: str, settings: dict[str, Any], tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base", TINY[model_type].build())
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    notes = Notes()
    found = search(model, rows=ROWS, samples=7, progress=notes, base_model=str(base), **settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not [line for line in notes.lines if "reference" in line]
    assert found.best.nll < found.unedited.nll
    edits = found.edit.edits
    assert all(one.tensor is not None for one in edits)
    assert all(one.expert is not None for one in edits) if model_type != "phi3" else all(one.rows for one in edits)
    lm = EditedLM.create_from_arg_obj({"edit": found.edit.write(tmp_path / "edit.json")}, {"device": "cpu"})
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    for one in edits:
        name = f"{one.module}.{one.parameter or 'weight'}"
        assert not torch.equal(lm.model.get_parameter(name), before[name])
