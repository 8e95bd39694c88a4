from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.models.apply import applied
from cti_edits.progress import Silent
from cti_edits.replay.session import Session
from cti_edits.search.measure import measure
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from cti_edits.stats import mcnemar_p_value, paired_interval
from tests.support.small_searches import choices, lm_of


def test_the_winner_stands_beside_the_unedited_model_on_the_same_rows(tmp_path: Path) -> None:
    lm, rows = lm_of("gptj"), choices(tmp_path)
    settings = SearchSettings(top_q=2, clusters=(2,), rates=(0.3, 0.05))
    result = run_search(lm, rows, settings, "tiny", "tiny", exact_stop=False)
    edit = result.edit
    assert edit.edits
    former = [parameter.clone() for parameter in lm.model.parameters()]
    with Session(lm) as session:
        found = measure(session, rows, edit, Silent())
    reference = ReferenceEvaluator(lm, rows)
    base = reference.evaluate()
    with applied(edit, lm.model):
        edited = reference.evaluate()
    assert (found["n"], found["baseline"], found["edited"]) == (len(rows.doc_ids), base.accuracy, edited.accuracy)
    assert found["baseline_nll"] == pytest.approx(base.nll, abs=1e-5)
    assert found["edited_nll"] == pytest.approx(edited.nll, abs=1e-5)
    assert found["ci95"] == list(paired_interval(base.correct, edited.correct))
    assert found["p_value"] == mcnemar_p_value(base.correct, edited.correct)
    assert all(torch.equal(a, b) for a, b in zip(former, lm.model.parameters(), strict=True))


def test_an_empty_edit_is_the_unedited_model(tmp_path: Path) -> None:
    lm, rows = lm_of("gptj"), choices(tmp_path)
    settings = SearchSettings(top_q=1, clusters=(1,), rates=(0.5,))
    edit = dataclasses.replace(run_search(lm, rows, settings, "tiny", "tiny").edit, edits=())
    with Session(lm) as session:
        found = measure(session, rows, edit, Silent())
    assert found["baseline"] == found["edited"]
    assert found["p_value"] == 1.0
