"""What a search knows beside its manifest, as JSON: there and back, and whatever else may stand there."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from typing import Any

import pytest

from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.artifact.strict_json import strict_json
from cti_edits.errors import EditError
from cti_edits.search.details import SearchDetails
from cti_edits.search.details_json import details_from_json, details_json
from cti_edits.search.explanation import NOT_EXPLAINED, MatrixScore
from tests.support.reports import SCRIPT, hostile_details

FULL = hostile_details("Ω")
BARE = dataclasses.replace(FULL, tried=(), explanation=NOT_EXPLAINED, answers=None, changed=(), layers=None)
EXPERTS = dataclasses.replace(
    FULL,
    explanation=dataclasses.replace(
        FULL.explanation, scores=(MatrixScore(MatrixId(0, "U_in", "decoder", 5), 1, -1.25, kept=False),)
    ),
)


@pytest.mark.parametrize("details", [FULL, BARE, EXPERTS, hostile_details(SCRIPT)])
def test_there_and_back(details: SearchDetails) -> None:
    written = json.dumps(details_json(details))
    assert details_from_json(strict_json(written.encode()), "a.jsonl") == details


def changed(path: str, value: object) -> dict[str, Any]:
    """A line in which one value is another."""
    document = copy.deepcopy(details_json(FULL))
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = document
    for step in steps:
        place = place[step]
    place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("unedited", 1.5, "unedited: expected at most 1, got 1.5"),
        ("stopped", -1, "stopped: expected at least 0, got -1"),
        ("lost", True, "lost: expected an integer, got a boolean true"),
        ("tried.0.cells.matrix", 4, "tried[0].cells.matrix: expected a string, got an integer 4"),
        ("tried.1.nll", "0.4", 'tried[1].nll: expected a number, got a string "0.4"'),
        ("changed.0.prompt", "a" * 3000, "changed[0].prompt: expected at most 2000 characters, got 3000"),
        ("explanation.scores.0.target.layer", 1 << 40, "explanation.scores[0].target.layer: expected at most 100000"),
        ("explanation.scores.0.target.stack", "up", "explanation.scores[0].target.stack: expected"),
        ("explanation.gradients.gradient", [0.5], "explanation.gradients.gradient: expected 2 values, as sigma has"),
        ("explanation.gradients.changed", [True], "explanation.gradients.changed: expected 2 values, as sigma has"),
        ("answers.edited", [1, 2, 3], "answers.edited: expected 2 values, as labels has, got 3"),
        ("more", 1, 'unknown key "more"'),
        ("layers", 0, "layers: expected at least 1 or null, got 0"),
    ],
)
def test_what_is_not_so_is_refused_with_its_field(path: str, value: object, said: str) -> None:
    with pytest.raises(EditError) as error:
        details_from_json(changed(path, value), "a.jsonl, line 7")
    assert str(error.value).startswith(f"a.jsonl, line 7: {said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [None, [], "text", 4, {}, {"tried": []}])
def test_something_else_is_refused(value: object) -> None:
    with pytest.raises(EditError, match=r"^here: "):
        details_from_json(value, "here")


@pytest.mark.parametrize("key", list(details_json(FULL)))
def test_no_kind_of_value_is_more_than_refused(key: str) -> None:
    others: tuple[object, ...] = (None, [[[]]], {"a": {}}, "x", 1e300)
    for other in others:
        with contextlib.suppress(EditError):
            details_from_json({**details_json(FULL), key: other}, "here")
