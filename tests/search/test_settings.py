from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from cti_edits.artifact.ranks import kept_parameters
from cti_edits.errors import EditError
from cti_edits.search.candidates import Candidate, MatrixId, candidates
from cti_edits.search.outcome import Outcome, winner
from cti_edits.search.scores import keep_best
from cti_edits.search.settings import CLUSTERS, RATES, SearchSettings


def test_the_defaults_are_the_papers() -> None:
    assert RATES == (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01, 0.005)
    assert CLUSTERS == (1, 2, 4, 8, 16)
    settings = SearchSettings()
    assert (settings.samples, settings.top_q, settings.seed) == (100, 5, 0)
    assert (settings.matrices, settings.rates, settings.clusters) == (("U_in", "U_out"), RATES, CLUSTERS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_q": 0}, "top_q: expected 1 or more, got 0"),
        ({"seed": -1}, "seed: expected 0 or more and less than 2^53, got -1"),
        ({"seed": 2**53}, f"seed: expected 0 or more and less than 2^53, got {2**53}"),
        ({"clusters": ()}, "clusters: expected at least one value"),
        ({"rates": ()}, "rates: expected at least one value"),
        ({"matrices": ()}, "matrices: expected at least one value"),
        ({"clusters": (4, 2, 4)}, "clusters: a value is given twice in 4, 2, 4"),
        ({"rates": (0.1, 0.10)}, "rates: a value is given twice in 0.1, 0.1"),
        ({"matrices": ("U_in", "U_in")}, "matrices: a value is given twice in U_in, U_in"),
        ({"clusters": (4, 0)}, "clusters: expected 1 or more, got 0"),
        ({"rates": (0.5, 0.0)}, "rates: expected above 0 and at most 1, got 0.0"),
        ({"rates": (1.5,)}, "rates: expected above 0 and at most 1, got 1.5"),
        ({"rates": (float("nan"),)}, "rates: expected above 0 and at most 1, got nan"),
    ],
)
def test_each_setting_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EditError) as caught:
        SearchSettings(**values)
    assert str(caught.value) == message


def test_settings_at_their_limits() -> None:
    settings = SearchSettings(top_q=1, seed=2**53 - 1, clusters=(1,), rates=(1.0, 1e-9), matrices=("W_o",))
    assert settings.seed == 2**53 - 1


def test_the_most_negative_scores_are_kept_best_first() -> None:
    scores = {
        MatrixId(0, "U_in"): -1.0,
        MatrixId(1, "U_in"): 0.0,
        MatrixId(2, "U_in"): -3.0,
        MatrixId(3, "U_in"): -2.0,
    }
    assert keep_best(scores, 2) == [MatrixId(2, "U_in"), MatrixId(3, "U_in")]
    assert [target.layer for target in keep_best(scores, 99)] == [2, 3, 0, 1]


def test_tied_scores_go_to_the_lower_layer_then_by_role_however_they_come() -> None:
    tied = [MatrixId(10, "U_in"), MatrixId(2, "U_out"), MatrixId(2, "U_in"), MatrixId(0, "W_o")]
    for order in itertools.permutations(tied):
        scores = dict.fromkeys(order, -1.0)
        assert keep_best(scores, 3) == [MatrixId(0, "W_o"), MatrixId(2, "U_in"), MatrixId(2, "U_out")]


def test_candidates_come_in_groups_of_one_decomposition() -> None:
    first, second = MatrixId(3, "U_in"), MatrixId(1, "U_out")
    groups = candidates({4: [first, second], 1: [second]}, (0.5, 0.1))
    assert groups == [
        (first, 4, [Candidate(first, 4, 0.5), Candidate(first, 4, 0.1)]),
        (second, 4, [Candidate(second, 4, 0.5), Candidate(second, 4, 0.1)]),
        (second, 1, [Candidate(second, 1, 0.5), Candidate(second, 1, 0.1)]),
    ]


def outcome(accuracy: float, nll: float, added: int, layer: int | None = 0) -> Outcome:
    candidate = None if layer is None else Candidate(MatrixId(layer, "U_in"), 2, 0.5)
    return Outcome(candidate, accuracy, nll, (), added)


UNEDITED = outcome(0.5, 1.0, 0, layer=None)


def test_accuracy_then_likelihood_then_size_decide() -> None:
    best_first = [
        outcome(0.7, 9.0, 0),
        outcome(0.6, 0.5, 100),
        outcome(0.6, 0.6, -900),
        outcome(0.6, 0.6, -800),
        outcome(0.4, 0.0, -10_000),
    ]
    shuffled = list(best_first)
    for seed in range(10):
        random.Random(seed).shuffle(shuffled)
        for count in range(1, 6):
            remaining = [one for one in shuffled if one in best_first[-count:]]
            assert winner(remaining) == best_first[-count]


@pytest.mark.parametrize(
    ("rival", "wins"),
    [
        (outcome(0.51, 9.0, 0), True),
        (outcome(0.5, 0.99, 0), True),
        (outcome(0.5, 1.0, -1), True),
        (outcome(0.5, 1.0, 0), False),
        (outcome(0.5, 1.01, -1000), False),
        (outcome(0.49, 0.0, -1000), False),
    ],
)
def test_an_edit_must_beat_the_unedited_model(rival: Outcome, wins: bool) -> None:
    assert winner([UNEDITED, rival]) is (rival if wins else UNEDITED)


def test_the_first_of_equals_wins() -> None:
    first, second = outcome(0.6, 1.0, -5, layer=4), outcome(0.6, 1.0, -5, layer=1)
    assert winner([UNEDITED, first, second]) is first
    assert winner([UNEDITED, second, first]) is second


def test_an_edit_of_nearly_full_rank_is_no_smaller_than_the_dense_weight() -> None:
    shape = (8, 8)
    assert kept_parameters(shape, (7,)) == 64
    rival = outcome(0.5, 1.0, kept_parameters(shape, (7,)) - 64)
    assert winner([UNEDITED, rival]) is UNEDITED
