"""The settings of ``cti-edits search``, from its options."""

from __future__ import annotations

import pytest

from cti_edits.cli.search_settings import given_settings, search_settings
from cti_edits.errors import EditError
from cti_edits.search.presets import find_preset
from cti_edits.search.settings import SearchSettings


def test_options_that_are_not_given_are_left_to_the_preset() -> None:
    given = given_settings({"seed": 0, "samples": None, "clusters": None, "method": None, "epochs": None})
    assert given == {"seed": 0}
    assert search_settings(None, "causal", given) == find_preset("sigma-step").settings("causal")
    assert search_settings("cl-100g-100e", "masked", given) == find_preset("cl-100g-100e").settings("masked")


def test_those_that_are_given_take_its_place() -> None:
    lists = {"clusters": "1,4", "rates": "0.5,0.1", "matrices": "U_in"}
    given = given_settings({"seed": 3, "samples": 12, "top_q": 2, **lists})
    expected = SearchSettings(samples=12, top_q=2, clusters=(1, 4), rates=(0.5, 0.1), matrices=("U_in",), seed=3)
    assert search_settings("cl-100g-100e", "causal", given) == search_settings(None, "causal", given) == expected


def test_a_setting_of_one_method_names_it() -> None:
    assert search_settings(None, "causal", {"top_q": 2}) == SearchSettings(top_q=2)
    assert search_settings(None, "causal", {"drops": (3.0,)}) == SearchSettings(
        method="directions", clusters=(1,), drops=(3.0,)
    )
    assert search_settings(None, "causal", {"method": "block-svd"}) == SearchSettings()


def test_those_of_directions() -> None:
    given = given_settings({"method": "directions", "clusters": "1", "directions": "64, 256", "drops": "0.1,3"})
    found = search_settings(None, "causal", given)
    assert (found.method, found.directions, found.drops, found.epochs) == ("directions", (64, 256), (0.1, 3.0), 0)
    fitted = search_settings("sigma-step", "causal", given_settings({"epochs": 4, "seed": 1}))
    assert (fitted.epochs, fitted.seed, fitted.preset) == (4, 1, None)
    assert search_settings("sigma-step", "masked", given_settings({"epochs": 0, "seed": 1})).preset == "sigma-step"


def test_wrong_ones_name_their_field() -> None:
    with pytest.raises(EditError, match=r"^rates: expected numbers joined by commas, got 'half'$"):
        given_settings({"rates": "half"})
    with pytest.raises(EditError, match=r"^directions: expected whole numbers joined by commas, got '0\.5'$"):
        given_settings({"directions": "0.5"})
    with pytest.raises(EditError, match=r"^top_q: expected 1 or more, got 0$"):
        search_settings(None, "causal", given_settings({"top_q": 0}))
    with pytest.raises(EditError, match=r"^epochs: expected 0 to 1000, got -1$"):
        search_settings("sigma-fit", "causal", given_settings({"epochs": -1}))
    with pytest.raises(EditError, match=r"^clusters: expected one K for directions, got 1, 4$"):
        search_settings(None, "causal", given_settings({"method": "directions", "clusters": "1,4"}))
    with pytest.raises(EditError, match=r"^rates: counts with the method block-svd alone, and this .* of directions$"):
        search_settings("sigma-step", "causal", given_settings({"rates": "0.5"}))
    with pytest.raises(EditError, match=r"^drops: counts with the method directions alone, and this .* of block-svd$"):
        search_settings(None, "causal", given_settings({"top_q": 1, "drops": "0.5"}))
    with pytest.raises(EditError, match="cl-100g-100e"):
        search_settings("cl-100g-100", "causal", {})
