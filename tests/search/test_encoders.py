"""Whole searches of masked models: packed, of weights stored together, of one block for all, and by the reference."""

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

ROWS = [
    {"prompt": f"Is thing {n} red? {'It is. ' * (n % 3)}The thing is <mask>", "choices": [" yes", " no"], "gold": n % 2}
    for n in range(9)
]
CUTS: dict[str, Any] = {"preset": "cl-100g-100e", "top_q": 2, "clusters": (1, 2), "rates": (0.6, 0.2)}
STEP: dict[str, Any] = {"preset": "sigma-step", "directions": (16,), "drops": (0.3, 1.0)}
FIT: dict[str, Any] = {"preset": "sigma-fit", "directions": (8,), "epochs": 2}
ALL_IN_ONE = "1 block stands for all 3 layers: an edit of it edits all"
SLOWER = "the reference evaluator takes over, which is slower: "


@pytest.mark.parametrize(
    ("model_type", "settings", "said"),
    [
        ("albert", CUTS, [ALL_IN_ONE]),
        ("albert", FIT, [ALL_IN_ONE]),
        ("nomic_bert", CUTS, []),
        ("luke", STEP, []),
        ("deberta", STEP, [f"{SLOWER}DebertaForMaskedLM takes no masks of packed rows"]),
        ("fnet", STEP, [f"{SLOWER}FNetForMaskedLM gives other logits when sequences are packed"]),
    ],
)
def test_a_search_ends_and_its_winner_applies(
    model_type: str, settings: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    base = save_checkpoint(tmp_path / "base", TINY[model_type].build(), masked=True)
    model = transformers.AutoModelForMaskedLM.from_pretrained(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    notes = Notes()
    found = search(model, rows=ROWS, samples=7, progress=notes, base_model=str(base), **settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    notable = [line for line in notes.lines if line.startswith((ALL_IN_ONE, SLOWER))]
    assert len(notable) == len(said)
    assert all(line.startswith(start) for line, start in zip(notable, said, strict=True))
    assert found.edit.edits
    assert found.best.accuracy > found.unedited.accuracy or found.best.nll < found.unedited.nll
    assert all(one.tensor is not None for one in found.edit.edits)
    lm = EditedLM.create_from_arg_obj({"edit": found.edit.write(tmp_path / "edit.json")}, {"device": "cpu"})
    assert lm.applied_edit is not None
    assert lm.applied_edit.verified
    for one in found.edit.edits:
        name = f"{one.module}.weight"
        assert not torch.equal(lm.model.get_parameter(name), before[name])
