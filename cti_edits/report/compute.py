"""What a search cost beside what LASER and the paper's systems would have, in forward passes of one example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import DirectionsEdit
from cti_edits.artifact.records import SearchRecord
from cti_edits.models.architectures import Kind
from cti_edits.paper.systems import PaperTask, paper_task
from cti_edits.search.cost import GRADIENT_PASS, fitting_passes, paper_cost
from cti_edits.search.details import SearchDetails
from cti_edits.search.presets import PRESETS

SYSTEMS = ("laser", "cl-laser", "cl-100g-se", "cl-100g-100e", "laser-100g-100e")
"""Those of the paper that a search is compared with, by their presets."""


@dataclass(frozen=True)
class SystemCost:
    """A way to find an edit.

    Attributes:
        name: of the preset, or "this search".
        passes: forward passes of one example until the edit is found; the test part is not among them.
        accuracy: with the edit, as a share, where it is known.
        source: whose figure that accuracy is.
    """

    name: str
    passes: float
    accuracy: float | None
    source: str


THIS = "this search"


def system_costs(edit: Edit, search: SearchDetails | None) -> list[SystemCost]:
    """The search of an edit and the paper's systems on a task and a model of this size, the dearest first.

    None where neither is known: of an edit that no search recorded, on a task or a model that is not the paper's.
    """
    known = None if edit.task is None else paper_task(edit.base_model.id, edit.task.name)
    found = [*_this(edit), *_papers(edit, search, known)]
    return sorted(found, key=lambda one: -one.passes)


def kind_of(edit: Edit) -> Kind:
    """Of the base model, as its class says."""
    return "masked" if "MaskedLM" in edit.base_model.architecture else "causal"


def _this(edit: Edit) -> Iterator[SystemCost]:
    if edit.search is None:
        return
    measured = edit.results.test or edit.results.calibration
    where = "held out" if edit.results.test else "calibration"
    accuracy = None if measured is None else measured.edited
    yield SystemCost(THIS, search_passes(edit.search), accuracy, where if measured else "")


def search_passes(search: SearchRecord) -> float:
    """Forward passes of a search that is recorded, at most: a candidate that was stopped early counts in full."""
    evaluated = search.samples if search.evaluated_on is None else search.evaluated_on
    takes_gradients = search.top_q is not None or search.method is not None
    gradients = GRADIENT_PASS * search.samples if takes_gradients else 0.0
    fitting = 0.0
    if search.method == DirectionsEdit.METHOD and search.epochs and search.directions:
        fitting = fitting_passes(search.directions, search.epochs, search.samples)
    return gradients + fitting + (1 + search.candidates) * evaluated


def _papers(edit: Edit, search: SearchDetails | None, known: PaperTask | None) -> Iterator[SystemCost]:
    rows = known.rows if known else search.task_rows if search else None
    layers = known.layers if known else search.layers if search else None
    if rows is None or layers is None:
        return
    for name in SYSTEMS:
        cost = paper_cost(PRESETS[name], kind_of(edit), rows, layers)
        accuracy = known.accuracies.get(name) if known else None
        yield SystemCost(name, cost.total - cost.test, accuracy, known.source if known and accuracy else "")
