"""What reports show, of tiny searches and of manifests that a stranger wrote."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cti_edits.artifact.manifest import Edit, parse
from cti_edits.artifact.matrix_id import MatrixId
from cti_edits.artifact.records import Guard, LabelBias, Measurement, RandomControl
from cti_edits.harness.calibration import CalibrationSet
from cti_edits.search.details import ChangedRow, GivenAnswers, SearchDetails, TriedCandidate, search_details
from cti_edits.search.explanation import Explanation, MatrixGradients, MatrixScore
from cti_edits.search.presets import find_preset, with_overrides
from cti_edits.search.runner import SearchResult, run_search
from tests.support.edits import full_2
from tests.support.small_searches import choices, lm_of

SMALL: Mapping[str, Mapping[str, object]] = {
    "cl-100g-100e": {"samples": 7, "top_q": 2, "clusters": (1, 2), "rates": (0.5, 0.2, 0.1)},
    "sigma-step": {"samples": 7, "directions": (1, 12, 60), "drops": (0.3, 1.0)},
}
"""What is tried in a tiny search with each preset."""

HELD_OUT = Measurement(
    200, 0.255, 0.485, 0.3, 2.5, 1.9, (0.159, 0.296), 1.2e-10,
    labels=("moo", "woof"), baseline_answers=(180, 20), edited_answers=(110, 90),
)  # fmt: skip
CONTROL = RandomControl(200, (0.25, 0.26, 0.245, 0.255, 0.27), (2.5, 2.5, 2.5, 2.5, 2.5))
CORRECTED = LabelBias((0.0, 0.4), 200, 0.46, (-0.02, 0.07), 0.4)
GUARD = Guard("bundled", 2000, 0.012, 21.5, 21.7)


@dataclass(frozen=True)
class Searched:
    """What a search ends with, and what a page about it shows."""

    result: SearchResult
    rows: CalibrationSet
    details: SearchDetails

    @property
    def edit(self) -> Edit:
        return self.result.edit


def searched(folder: Path, preset: str) -> Searched:
    """A real search of a tiny model on a task with two labels, measured on the same rows, with what stands beside."""
    settings = with_overrides(find_preset(preset).settings("causal"), SMALL[preset])
    rows = choices(folder)
    result = run_search(lm_of("gptj"), rows, settings, "tiny", "tests/tiny", exact_stop=False, test=rows, control=True)
    return Searched(result, rows, search_details(result, rows))


def judged(edit: Edit) -> Edit:
    """An edit with all that can be measured of one, better on held-out rows."""
    results = dataclasses.replace(edit.results, test=HELD_OUT, control=CONTROL, label_bias=CORRECTED, guard=GUARD)
    return dataclasses.replace(edit, results=results)


SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{ 7 * 7 }}$x^2$"
"""What a page must show and not obey."""
HUGE = "Ω‮" + "W" * 5000
"""More than a page has room for, without a place to break a line."""


@cache
def hostile(text: str) -> Edit:
    """A manifest that has ``text`` wherever it may have any."""
    document = full_2()
    checked = json.dumps(document)

    def with_text(value: Any, path: tuple[str | int, ...]) -> None:
        """Put ``text`` at ``path`` in the place of what is there, if the manifest is one then."""
        nonlocal checked
        attempt = json.loads(checked)
        place = attempt
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = text
        try:
            parse(json.dumps(attempt).encode())
        except Exception:
            return
        checked = json.dumps(attempt)

    def walk(value: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(value, str):
            with_text(value, path)
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, (*path, key))
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(inner, (*path, number))

    walk(copy.deepcopy(document), ())
    return parse(checked.encode())


@cache
def hostile_details(text: str) -> SearchDetails:
    """What a search knows, with ``text`` in rows, labels and candidates."""
    target = MatrixId(3, text)
    return SearchDetails(
        tried=tuple(
            TriedCandidate({"matrix": text, "K": "2", "ρ": str(rho)}, 0.5, 1.0, rho == 0.1) for rho in (0.1, 0.4)
        ),
        unedited=0.4,
        stopped=1,
        failed=1,
        explanation=Explanation(
            text,
            text,
            (MatrixScore(target, 1, -1.0, kept=True), MatrixScore(MatrixId(7, text), 1, -3.0, kept=False)),
            MatrixGradients(target, 1, (2.0, 1.0), (-0.1, 0.2), (True, False)),
        ),
        answers=GivenAnswers((text, "b"), (4, 5), (9, 0)),
        changed=(
            ChangedRow(4, text, text, text, text, better=True),
            ChangedRow(5, text, text, None, None, better=False),
        ),
        gained=1,
        lost=1,
        layers=12,
        task_rows=500,
    )
