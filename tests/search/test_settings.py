from __future__ import annotations

from typing import Any

import pytest

from cti_edits.errors import EditError
from cti_edits.search.settings import CLUSTERS, RATES, SearchSettings, fold_count


def test_the_defaults_are_the_papers() -> None:
    assert RATES == (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01, 0.005)
    assert CLUSTERS == (1, 2, 4, 8, 16)
    settings = SearchSettings()
    assert (settings.samples, settings.top_q, settings.seed) == (100, 5, 0)
    assert (settings.scorer, settings.selector, settings.partition) == ("paper", "best", "row-blocks")
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
        ({"clusters": (17,), "partition": "k-subspaces"}, "clusters: expected at most 16 with k-subspaces, got 17"),
        (
            {"partition": "row-block"},
            (
                "partition: no partition is called 'row-block'; did you mean row-blocks? "
                "(known: row-blocks, k-subspaces, k-means)"
            ),
        ),
        ({"directions": ()}, "directions: expected at least one value"),
        ({"directions": (64, 0)}, "directions: expected 1 to 10,000, got 0"),
        ({"directions": (10_001,)}, "directions: expected 1 to 10,000, got 10001"),
        ({"directions": (64, 64)}, "directions: a value is given twice in 64, 64"),
        ({"drops": (0.3, -1.0)}, "drops: expected above 0 and at most 1000, got 0.3, -1.0"),
        ({"drops": (float("nan"),)}, "drops: expected above 0 and at most 1000, got nan"),
        ({"epochs": -1}, "epochs: expected 0 to 1000, got -1"),
        ({"method": "x"}, "method: no method is called 'x' (known: block-svd, directions)"),
        ({"method": "directions"}, "clusters: expected one K for directions, got 1, 2, 4, 8, 16"),
        ({"stack": "both"}, "stack: expected encoder or decoder, got 'both'"),
        ({"compose": 0}, "compose: expected 1 to 1000, got 0"),
        ({"compose": 1001}, "compose: expected 1 to 1000, got 1001"),
        ({"selector": "x"}, "selector: no selector is called 'x' (known: best, one-standard-error, nll, balanced)"),
        (
            {"scorer": "paper", "selector": "BEST"},
            (
                "selector: no selector is called 'BEST'; did you mean best? "
                "(known: best, one-standard-error, nll, balanced)"
            ),
        ),
        (
            {"scorer": "sigma", "top_q": None},
            "scorer: no matrix is scored where every one is tried; say how many are kept (top_q)",
        ),
    ],
)
def test_each_setting_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EditError) as caught:
        SearchSettings(**values)
    assert str(caught.value) == message


def test_settings_at_their_limits() -> None:
    settings = SearchSettings(top_q=1, seed=2**53 - 1, clusters=(1,), rates=(1.0, 1e-9), matrices=("W_o",))
    assert settings.seed == 2**53 - 1
    assert SearchSettings(clusters=(17,)).clusters == (17,)


@pytest.mark.parametrize(("rows", "folds"), [(1, 1), (3, 1), (4, 2), (7, 3), (8, 4), (100, 4)])
def test_each_fold_has_two_rows_or_more(rows: int, folds: int) -> None:
    assert fold_count(rows) == folds
