"""What was found stays found: the digests of the 48 published edits, and three searches with all their figures.

They were recorded before the code was put in its present order. Whatever is moved, renamed or made faster leaves
them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.manifest import load
from cti_edits.paper.published import edits
from cti_edits.paths import folder
from tests.support.recorded_searches import RECORDED, SEARCHES, digest, outcomes, record, run

DIGESTS: Mapping[str, str] = json.loads((RECORDED.parent / "published_digests.json").read_text(encoding="utf-8"))
SEARCHED: Mapping[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))

LOSS = 1.5e-6
"""Losses are rounded to 1e-6 nats, and another processor may add up to the other side of that: one step apart."""


def test_the_published_edits_have_their_digests() -> None:
    assert len(DIGESTS) == 48
    assert {path.stem: load(path).digest() for path in folder("edits").glob("*.json")} == DIGESTS


def test_the_papers_tables_give_the_same_digests() -> None:
    assert {edit.name: edit.digest() for edit in edits()} == DIGESTS


def assert_same(found: Any, recorded: Any) -> None:
    """Equal, but for floating-point figures, which are as near as `LOSS`."""
    if isinstance(recorded, Mapping):
        assert list(found) == list(recorded)
        for key, value in recorded.items():
            assert_same(found[key], value)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded, strict=True):
            assert_same(one, other)
    elif isinstance(recorded, float):
        assert found == pytest.approx(recorded, rel=0, abs=LOSS)
    else:
        assert found == recorded


@pytest.mark.parametrize("name", SEARCHES)
def test_every_candidate_has_its_recorded_figures(name: str, tmp_path: Path) -> None:
    result = run(SEARCHES[name], tmp_path, exact_stop=False)
    assert_same(record(result), SEARCHED[name])
    assert len(result.outcomes) == SEARCHED[name]["candidates"]


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_that_stops_candidates_has_the_recorded_winner(name: str, tmp_path: Path) -> None:
    result = run(SEARCHES[name], tmp_path, exact_stop=True)
    assert digest(result.edit) == SEARCHED[name]["digest"]
    assert_same(result.edit.results.to_json(), SEARCHED[name]["results"])
    assert len(result.outcomes) + len(result.stopped) == SEARCHED[name]["candidates"]
    for candidate, figures in outcomes(result).items():
        assert_same(figures, SEARCHED[name]["outcomes"][candidate])


@pytest.mark.parametrize("name", SEARCHES)
def test_no_other_candidate_is_near_the_winner(name: str) -> None:
    """So that another processor's rounding cannot make another candidate win."""
    order = sorted((-right, loss) for right, loss in SEARCHED[name]["outcomes"].values())
    (first, loss), (second, next_loss) = order[:2]
    assert first < second or next_loss - loss > 1000 * LOSS
    assert SEARCHED[name]["edits"]
