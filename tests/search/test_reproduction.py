"""How much is the same, from two manifests alone."""

from __future__ import annotations

import dataclasses
from typing import Any

from cti_edits.artifact.asked import Asked, AskedPrompt
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import Factors
from cti_edits.artifact.records import Guard, Measurement, Provenance, Results
from cti_edits.search.reproduction import Changed, compared
from tests.support.edits import BASE, SEARCH, entry

MEASURED = Measurement(100, 0.4, 0.6, 0.5)
PROVENANCE = Provenance("2026-01-01T00:00:00Z", "cti-edits 0.1.0", None, {"torch": "2.6.0"}, 256)


def found(**changes: Any) -> Edit:
    whole: dict[str, Any] = {
        "base_model": BASE,
        "edits": (entry(),),
        "search": SEARCH,
        "results": Results(MEASURED, Measurement(1000, 0.4, 0.5, 0.5)),
        "provenance": PROVENANCE,
    }
    return Edit("found", "", **{**whole, **changes})


def test_bytes_but_for_what_is_of_the_day_and_what_came_later() -> None:
    recorded = found(
        edits=(entry(factors=Factors("one.safetensors", "0" * 64, 1000)),),
        metadata={"mine": True},
        results=dataclasses.replace(found().results, guard=Guard("bundled", 10, 0.1, 2.0, 3.0)),
    )
    other = dataclasses.replace(PROVENANCE, created="2027-01-01T00:00:00Z", versions={"torch": "2.7.0"}, device="cpu")
    result = compared(recorded, found(provenance=other))
    assert result.grade == "bytes"
    # Of the device the older manifest says nothing.
    assert result.changed == (Changed("torch", "2.6.0", "2.7.0"),)


def test_the_same_change_of_the_matrices_with_other_figures() -> None:
    other = Results(dataclasses.replace(MEASURED, edited=0.61, edited_nll=1.0), None)
    result = compared(found(), found(results=other))
    assert (result.grade, result.changed) == ("winner", ())
    assert [(one.rows, one.model, one.recorded, one.now, one.within) for one in result.figures] == [
        ("calibration", "base", 0.4, 0.4, True),
        ("calibration", "edited", 0.6, 0.61, True),
    ]


def test_another_winner_is_within_the_intervals_or_not() -> None:
    # Wilson's interval of 60 of 100 is 50.2 to 69.1 %.
    for now, grade in ((0.69, "figures"), (0.70, "not reproduced"), (0.51, "figures"), (0.50, "not reproduced")):
        results = dataclasses.replace(found().results, calibration=dataclasses.replace(MEASURED, edited=now))
        assert compared(found(), found(edits=(entry(rho=0.5, layer=1),), results=results)).grade == grade
    # Of the same rows, the interval is as wide as there were rows: 500 of 1000 is 46.9 to 53.1 %.
    test = Measurement(1000, 0.4, 0.54, 0.5)
    results = dataclasses.replace(found().results, test=test)
    assert compared(found(), found(edits=(entry(layer=1),), results=results)).grade == "not reproduced"


def test_without_a_figure_another_winner_is_not_reproduced() -> None:
    nothing = Results(None, None)
    assert compared(found(results=nothing), found(edits=(entry(layer=1),))).grade == "not reproduced"


def test_what_was_asked_otherwise_and_searched_otherwise_is_named() -> None:
    asked = Asked(prompt=AskedPrompt(num_fewshot=2))
    before, now = (
        dataclasses.replace(SEARCH, asked=asked, clusters=(1, 2)),
        dataclasses.replace(SEARCH, asked=Asked(prompt=AskedPrompt(num_fewshot=0)), clusters=(1,)),
    )
    base = dataclasses.replace(BASE, revision="def")
    assert compared(found(search=before), found(search=now, base_model=base)).changed == (
        Changed("base_model.revision", "abc", "def"),
        Changed("clusters", "1, 2", "1"),
        Changed("num_fewshot", 2, 0),
    )
