"""The paper's candidates, as trials."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cti_edits.artifact.ranks import kept_parameters
from cti_edits.errors import EditError
from cti_edits.linalg.lowrank import truncate
from cti_edits.search.candidates import MatrixId, RankCut
from cti_edits.search.rank_cuts import RankCutTrials, propose
from cti_edits.search.settings import SearchSettings
from tests.support.small_searches import choices, lm_of, search_context

RATES = (0.6, 0.2)


def proposed(folder: Path, settings: SearchSettings) -> RankCutTrials:
    return propose(search_context(lm_of("gptj"), choices(folder), settings, folder))


def test_every_matrix_at_every_k_and_rate_where_none_is_scored(tmp_path: Path) -> None:
    trials = proposed(tmp_path, SearchSettings(top_q=None, clusters=(1, 3), rates=RATES))
    expected = [
        RankCut(MatrixId(layer, matrix), clusters, rho)
        for clusters in (1, 3)
        for layer in range(3)
        for matrix in ("U_in", "U_out")
        for rho in RATES
    ]
    assert list(trials.candidates) == expected


def test_the_best_scores_at_each_k_otherwise(tmp_path: Path) -> None:
    """Σ σ of the last 20 as the score: the smallest of all matrices."""
    settings = SearchSettings(top_q=2, clusters=(1, 2), rates=RATES, scorer="sigma")
    context = search_context(lm_of("gptj"), choices(tmp_path), settings, tmp_path)
    trials = propose(context)
    assert len(trials.candidates) == 2 * 2 * 2
    for clusters in (1, 2):
        sums = {
            place: sum(
                float(torch.linalg.svdvals(block.double())[-20:].sum())
                for block in torch.tensor_split(target.weight, clusters)
            )
            for place, target in context.targets.items()
        }
        tried = {one.target for one in trials.candidates if isinstance(one, RankCut) and one.clusters == clusters}
        assert tried == set(sorted(sums, key=lambda place: sums[place])[:2])


def test_trials_come_by_layer_with_their_weights(tmp_path: Path) -> None:
    settings = SearchSettings(top_q=None, clusters=(2, 1), rates=RATES)
    context = search_context(lm_of("gptj"), choices(tmp_path), settings, tmp_path)
    trials = propose(context)
    found = list(trials.trials(trials.candidates))
    layers = [one.weights[0][0].layer for one in found]
    assert layers == sorted(layers)
    for trial in found[::5]:
        cut = trial.candidate
        assert isinstance(cut, RankCut)
        ((target, weight),) = trial.weights
        assert (target.layer, target.matrix) == (cut.target.layer, cut.target.matrix)
        (edit,) = trials.matrix_edits(cut, None)
        assert (edit.rho, edit.clusters, edit.partition) == (cut.rho, cut.clusters, trial.partition)
        torch.testing.assert_close(weight, truncate(target.weight, edit.block_ranks), rtol=1e-5, atol=1e-6)
        rows, columns = edit.shape
        assert trial.added_parameters == kept_parameters(edit.shape, edit.block_ranks) - rows * columns
    some = [trials.candidates[-1], trials.candidates[0]]
    assert {one.candidate for one in trials.trials(some)} == set(some)


def test_as_applied_is_the_truncation_by_itself_or_the_same(tmp_path: Path) -> None:
    trials = proposed(tmp_path, SearchSettings(top_q=None, clusters=(1,), rates=(0.9, 0.2), matrices=("U_out",)))
    for tried in trials.trials(trials.candidates):
        ((target, weight),) = tried.weights
        (edit,) = trials.matrix_edits(tried.candidate, None)
        alone = truncate(target.weight, edit.block_ranks)
        again = trials.as_applied(tried.candidate)
        assert (again is None) is torch.equal(alone, weight)
        assert torch.equal(alone, weight if again is None else again.weights[0][1])


def test_k_larger_than_a_matrix_is_refused_before_anything_is_decomposed(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="33"):
        proposed(tmp_path, SearchSettings(top_q=None, clusters=(1, 33), rates=RATES))
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".safetensors"]
