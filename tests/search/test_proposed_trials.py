"""What a method gives to try: of every method, each candidate once, and as its manifest is applied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cti_edits.artifact.manifest import BaseModel, Edit
from cti_edits.models.apply import applied
from cti_edits.search.proposed_trials import proposed
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, search_context

SETTINGS = {
    "cuts": SearchSettings(top_q=2, clusters=(1, 2), rates=(0.6, 0.2)),
    "subspaces": SearchSettings(top_q=None, clusters=(2,), rates=(0.4,), partition="k-subspaces", matrices=("U_in",)),
    "steps": SearchSettings(method="directions", clusters=(3,), directions=(5, 40), drops=(0.3, 1.0)),
    "fitted": SearchSettings(method="directions", clusters=(1,), directions=(8,), epochs=1),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_each_candidate_is_tried_once_and_applied_from_its_manifest_has_the_same_bits(
    kind: str, tmp_path: Path
) -> None:
    lm = lm_of("gpt2")
    context = search_context(lm, choices(tmp_path), SETTINGS[kind], tmp_path)
    with context.session:
        trials = proposed(context)
        tried = {one.candidate: one for one in trials.trials(trials.candidates)}
        assert len(tried) == len(trials.candidates) == len(set(trials.candidates))
        last = trials.candidates[-1]
        assert [one.candidate for one in trials.trials([last])] == [last]
        assert list(trials.trials([])) == []
        for candidate, trial in tried.items():
            exact = trials.as_applied(candidate) or trial
            edits = trials.matrix_edits(candidate, None)
            edit = Edit(
                name="tried",
                description="",
                base_model=BaseModel("tests/tiny", None, "GPT2LMHeadModel", "float32"),
                edits=edits,
            )
            assert {(one.layer, one.matrix) for one in edits} == {
                (target.layer, target.matrix) for target, _ in trial.weights
            }
            with applied(edit, lm.model):
                for (target, weight), (_, close) in zip(exact.weights, trial.weights, strict=True):
                    assert torch.equal(target.weight, weight)
                    torch.testing.assert_close(target.weight, close, rtol=1e-5, atol=1e-5)
