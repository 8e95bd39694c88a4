"""Why candidates were tried, of every method on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.direction_trials import propose as steps
from cti_edits.search.explanation import Explanation, explanation_of
from cti_edits.search.presets import find_preset, with_overrides
from cti_edits.search.rank_cuts import propose as cuts
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, search_context

PLACES = {MatrixId(layer, matrix) for layer in range(3) for matrix in ("U_in", "U_out")}


def test_rank_cuts_have_the_scores_of_all_matrices_and_what_was_kept(tmp_path: Path) -> None:
    settings = SearchSettings(top_q=2, clusters=(1, 2), rates=(0.5,), scorer="sigma")
    trials = cuts(search_context(lm_of("gptj"), choices(tmp_path), settings, tmp_path))
    found = explanation_of(trials, None)
    assert "Σ σ" in found.scored_by
    assert {(one.target, one.clusters) for one in found.scores} == {(place, k) for place in PLACES for k in (1, 2)}
    tried = {(one.target, one.clusters) for one in trials.candidates if isinstance(one, RankCut)}
    assert {(one.target, one.clusters) for one in found.scores if one.kept} == tried
    for clusters in (1, 2):
        of_k = [one for one in found.scores if one.clusters == clusters]
        assert max(one.score for one in of_k if one.kept) <= min(one.score for one in of_k if not one.kept)
    # Of the winner, where there is one: σ of the last 20 of each of its two blocks.
    best = RankCut(MatrixId(1, "U_out"), 2, 0.5)
    gradients = explanation_of(trials, best).gradients
    assert gradients is not None
    assert (gradients.target, gradients.clusters) == (best.target, 2)
    assert len(gradients.sigma) == len(gradients.gradient) == len(gradients.changed)
    score = next(one.score for one in found.scores if (one.target, one.clusters) == (best.target, 2))
    assert sum(gradients.sigma) / 2 == pytest.approx(score)


def test_without_scores_there_is_nothing_to_say(tmp_path: Path) -> None:
    settings = SearchSettings(top_q=None, clusters=(1,), rates=(0.5,))
    trials = cuts(search_context(lm_of("gptj"), choices(tmp_path), settings, tmp_path))
    assert explanation_of(trials, trials.candidates[0]) == Explanation()
    assert explanation_of(object(), None) == Explanation()


def test_directions_have_sums_of_gradients_and_those_of_the_matrix_that_changes_most(tmp_path: Path) -> None:
    settings = with_overrides(find_preset("sigma-step").settings("causal"), {"directions": (5, 12), "drops": (0.3,)})
    lm = lm_of("gptj")
    result = run_search(lm, choices(tmp_path), settings, "tiny", "tests/tiny", exact_stop=False)
    found = result.explanation
    assert {one.target for one in found.scores} == PLACES
    assert found.gradients is not None
    total = sum(map(abs, found.gradients.gradient))
    assert -total == pytest.approx(next(one.score for one in found.scores if one.target == found.gradients.target))
    changed = {(one.layer, one.matrix): len(one.index) for one in result.edit.edits}  # type: ignore[attr-defined]
    assert {(one.target.layer, one.target.matrix) for one in found.scores if one.kept} == set(changed)
    place = found.gradients.target
    assert (
        sum(found.gradients.changed) == max(changed.values(), default=0) == changed.get((place.layer, place.matrix), 0)
    )
    trials = steps(search_context(lm, choices(tmp_path), settings, tmp_path))
    none = trials.explanation(None)
    assert none.gradients is not None
    assert not any(none.gradients.changed)
    assert not any(one.kept for one in none.scores)
    assert torch.tensor(none.gradients.sigma).min() >= 0
