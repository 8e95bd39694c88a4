"""What is the same when a search is run again, and what may be why not all is. Knows manifests alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.differences import differences
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement, Provenance
from cti_edits.stats import wilson_interval

Grade = Literal["bytes", "winner", "figures", "not reproduced"]
"""What is the same: every byte of the manifest but what says when and with what it was made; the same change of the
same matrices; or, of another winner, every accuracy within the 95 % interval of the recorded one."""


@dataclass(frozen=True)
class Changed:
    """Something that is not as it was recorded.

    Attributes:
        what: its name, "torch", "rows" or "num_fewshot".
        recorded: in the manifest.
        now: here.
    """

    what: str
    recorded: str | int | float | bool | None
    now: str | int | float | bool | None


@dataclass(frozen=True)
class Figure:
    """An accuracy that was measured both times.

    Attributes:
        rows: which: "calibration" or "test".
        model: "base" or "edited".
        n: how many rows were measured on when it was recorded.
        recorded: in the manifest.
        ci95: 95 % interval of that, Wilson's.
        now: here.
        within: whether it is in the interval.
    """

    rows: str
    model: str
    n: int
    recorded: float
    ci95: tuple[float, float]
    now: float
    within: bool


@dataclass(frozen=True)
class Reproduction:
    """What came of a search that was run again.

    Attributes:
        grade: how much is the same.
        changed: what is not as it was recorded, which may be why; without the figures.
        figures: the accuracies that were measured both times.
        edit: what was found; None where nothing was run, since rows or base are others.
    """

    grade: Grade
    changed: tuple[Changed, ...]
    figures: tuple[Figure, ...] = ()
    edit: Edit | None = None


def compared(recorded: Edit, found: Edit) -> Reproduction:
    """What is the same in an edit and in what its search found this time."""
    changed = (
        *_changed_base(recorded, found),
        *_changed_search(recorded, found),
        *_changed_provenance(recorded.provenance, found.provenance),
    )
    figures = tuple(_figures(recorded, found))
    return Reproduction(_grade(recorded, found, figures), changed, figures, found)


def _grade(recorded: Edit, found: Edit, figures: tuple[Figure, ...]) -> Grade:
    if _lasting(recorded) == _lasting(found):
        return "bytes"
    if not any(one.applied and one.field.startswith("edits") for one in differences(_recipe(recorded), found)):
        return "winner"
    return "figures" if figures and all(one.within for one in figures) else "not reproduced"


def _recipe(edit: Edit) -> Edit:
    """The edit without files of factors: a search writes none."""
    return dataclasses.replace(edit, edits=tuple(dataclasses.replace(one, factors=None) for one in edit.edits))


def _lasting(edit: Edit) -> dict[str, Any]:
    """The manifest without what says when and with what it was made, and without what was added to it later."""
    document = _recipe(edit).newest_json()
    for key in ("provenance", "metadata"):
        del document[key]
    for key in ("guard", "reported"):
        document["results"].pop(key, None)
    return document


def _figures(recorded: Edit, found: Edit) -> Iterator[Figure]:
    parts = (
        ("calibration", recorded.results.calibration, found.results.calibration),
        ("test", recorded.results.test, found.results.test),
    )
    for rows, before, now in parts:
        if before is not None and now is not None:
            yield _figure(rows, "base", before, before.baseline, now.baseline)
            yield _figure(rows, "edited", before, before.edited, now.edited)


def _figure(rows: str, model: str, measured: Measurement, recorded: float, now: float) -> Figure:
    low, high = wilson_interval(round(recorded * measured.n), measured.n)
    return Figure(rows, model, measured.n, recorded, (low, high), now, low <= now <= high)


def _changed_base(recorded: Edit, found: Edit) -> Iterator[Changed]:
    for one in dataclasses.fields(recorded.base_model):
        before, now = getattr(recorded.base_model, one.name), getattr(found.base_model, one.name)
        if before != now:
            yield Changed(f"base_model.{one.name}", before, now)


def _changed_search(recorded: Edit, found: Edit) -> Iterator[Changed]:
    if recorded.search is None or found.search is None:
        return
    for one in dataclasses.fields(recorded.search):
        before, now = getattr(recorded.search, one.name), getattr(found.search, one.name)
        if before == now or one.name == "row_hashes":
            continue
        if isinstance(before, Asked | None) and isinstance(now, Asked):
            for field in (before or Asked()).differences(now):
                yield Changed(field.field, field.first, field.second)
        else:
            yield Changed(one.name, _text(before), _text(now))


def _changed_provenance(recorded: Provenance, found: Provenance) -> Iterator[Changed]:
    now = _made_with(found)
    for what, before in _made_with(recorded).items():
        # Older manifests do not name the device.
        if before is not None and before != now.get(what):
            yield Changed(what, before, now.get(what))


def _made_with(provenance: Provenance) -> dict[str, str | int | None]:
    found: dict[str, str | int | None] = {"tool": provenance.tool, **provenance.versions}
    return found | {"batch_tokens": provenance.batch_tokens, "device": provenance.device}


def _text(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
