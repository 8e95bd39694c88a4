"""What a search knows beside its manifest, as JSON and from it: a line of the search's log. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cti_edits.artifact.json_schema import first_error
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.artifact.strict_json import plain
from cti_edits.errors import EditError, printable
from cti_edits.search.details import ChangedRow, GivenAnswers, SearchDetails, TriedCandidate
from cti_edits.search.explanation import Explanation, MatrixGradients, MatrixScore

SCHEMA = "search-details"


def details_json(details: SearchDetails) -> dict[str, Any]:
    """The details as plain JSON values; see ``schemas/search-details.schema.json``.

    Raises:
        NotStrictError: a figure is none that JSON has; the message names the field.
    """
    found: dict[str, Any] = plain(details)
    return found


def details_from_json(value: object, place: str) -> SearchDetails:
    """The details that `details_json` wrote.

    Args:
        value: strict JSON, of whoever wrote it.
        place: where it is from, for the message.

    Raises:
        EditError: it is not what the schema says, or lists of one thing are not equally long.
    """
    fault = first_error(value, SCHEMA)
    document: dict[str, Any] = {} if fault or not isinstance(value, dict) else value
    fault = fault or _uneven(document)
    if fault:
        raise EditError(f"{printable(place, 300)}: {fault}")
    given = document["answers"]
    return SearchDetails(
        **{
            **document,
            "tried": tuple(TriedCandidate(**one) for one in document["tried"]),
            "explanation": _explanation(document["explanation"]),
            "answers": None if given is None else GivenAnswers(**{key: tuple(one) for key, one in given.items()}),
            "changed": tuple(ChangedRow(**one) for one in document["changed"]),
        }
    )


def _uneven(document: Mapping[str, Any]) -> str | None:
    """The first lists that should be equally long and are not."""
    gradients = document["explanation"]["gradients"]
    for what, lists, first in (
        ("answers", document["answers"], "labels"),
        ("explanation.gradients", gradients, "sigma"),
    ):
        for key, values in (lists or {}).items():
            if isinstance(values, list) and len(values) != len(lists[first]):
                return f"{what}.{key}: expected {len(lists[first])} values, as {first} has, got {len(values)}"
    return None


def _explanation(document: Mapping[str, Any]) -> Explanation:
    gradients = document["gradients"]
    return Explanation(
        scored_by=document["scored_by"],
        kept_for=document["kept_for"],
        scores=tuple(MatrixScore(**{**one, "target": _matrix(one["target"])}) for one in document["scores"]),
        gradients=None
        if gradients is None
        else MatrixGradients(
            _matrix(gradients["target"]),
            gradients["clusters"],
            *(tuple(gradients[field.name]) for field in fields(MatrixGradients)[2:]),
        ),
    )


def _matrix(document: Mapping[str, Any]) -> MatrixId:
    return MatrixId(**document)
