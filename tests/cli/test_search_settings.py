"""The settings of ``cti-edits search``, from its options."""

from __future__ import annotations

import pytest

from cti_edits.cli.search_settings import given_settings, search_settings
from cti_edits.errors import EditError
from cti_edits.search.presets import find_preset
from cti_edits.search.settings import SearchSettings


def test_options_that_are_not_given_are_left_to_the_preset() -> None:
    given = given_settings(0, None, None, None, None, None)
    assert given == {"seed": 0}
    assert search_settings(None, "causal", given) == SearchSettings()
    assert search_settings("cl-100g-100e", "masked", given) == find_preset("cl-100g-100e").settings("masked")


def test_those_that_are_given_take_its_place() -> None:
    given = given_settings(3, 12, 2, "1,4", "0.5,0.1", "U_in")
    expected = SearchSettings(samples=12, top_q=2, clusters=(1, 4), rates=(0.5, 0.1), matrices=("U_in",), seed=3)
    assert search_settings("cl-100g-100e", "causal", given) == search_settings(None, "causal", given) == expected


def test_wrong_ones_name_their_field() -> None:
    with pytest.raises(EditError, match=r"^rates: expected numbers joined by commas, got 'half'$"):
        given_settings(0, None, None, None, "half", None)
    with pytest.raises(EditError, match=r"^top_q: expected 1 or more, got 0$"):
        search_settings(None, "causal", given_settings(0, None, 0, None, None, None))
    with pytest.raises(EditError, match="cl-100g-100e"):
        search_settings("cl-100g-100", "causal", {})
