"""The page of an edit: ``cti-edits report``, and beside the manifest after a search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Results
from cti_edits.report.asked_lines import Fact, Table, asked, changed_matrices, origin
from cti_edits.report.compute import system_costs
from cti_edits.report.figures import Figure
from cti_edits.report.headline import NOT_MEASURED, Headline, headline
from cti_edits.report.heat_maps import directions_figure, scores_figure
from cti_edits.report.measurements import bbc_cv_text, control_text, guard_text, label_bias_text
from cti_edits.report.page import page
from cti_edits.report.result_figures import accuracy_figure, answers_figure, given_answers
from cti_edits.report.search_figures import compute_figure, sigma_figure, tried_figure
from cti_edits.report.words import interval, percent, points, points_interval
from cti_edits.search.details import ChangedRow, SearchDetails
from cti_edits.stats import wilson_interval

MOST_TRIED = 20
"""Of the candidates, so many are listed."""


@dataclass(frozen=True)
class Command:
    """What a person can type.

    Attributes:
        purpose: what for.
        lines: the command, for a shell.
    """

    purpose: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A figure that stands out.

    Attributes:
        name: what it is.
        value: the figure.
        note: its interval, or what else a person has to know.
    """

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class ReportPage:
    """What the template ``report.html`` shows, from above to below."""

    edit: Edit
    headline: Headline
    numbers: tuple[Number, ...]
    checks: tuple[Fact, ...]
    result_figures: tuple[Figure, ...]
    asked: tuple[Fact, ...]
    matrices: Table
    search_figures: tuple[Figure, ...]
    tried: Table | None
    search: SearchDetails | None
    better: tuple[ChangedRow, ...]
    worse: tuple[ChangedRow, ...]
    commands: tuple[Command, ...]
    origin: tuple[Fact, ...]


def edit_report(edit: Edit, search: SearchDetails | None, commands: tuple[Command, ...]) -> str:
    """The page.

    Args:
        edit: the manifest.
        search: what its search knows beside that; None where there is the manifest alone.
        commands: what a person can type to go on.
    """
    return page(
        "report.html",
        ReportPage(
            edit=edit,
            headline=headline(edit),
            numbers=tuple(_numbers(edit)),
            checks=tuple(_checks(edit.results)),
            result_figures=tuple(_result_figures(edit, search)),
            asked=tuple(asked(edit)),
            matrices=changed_matrices(edit),
            search_figures=tuple(_search_figures(edit, search)),
            tried=_tried(search) if search else None,
            search=search,
            better=tuple(row for row in search.changed if row.better) if search else (),
            worse=tuple(row for row in search.changed if not row.better) if search else (),
            commands=commands,
            origin=tuple(origin(edit)),
        ),
    )


def _numbers(edit: Edit) -> Iterator[Number]:
    """The figures that stand out: the held-out ones, else those that there are, named."""
    results = edit.results
    measured, where = (results.test, "held out") if results.test else (results.calibration, "calibration rows")
    if measured is not None:
        for name, accuracy in (("Base model", measured.baseline), ("With the edit", measured.edited)):
            ends = wilson_interval(round(accuracy * measured.n), measured.n)
            yield Number(f"{name}, {where}", percent(accuracy), interval(*ends))
        ends_text = f"{points_interval(*measured.ci95)}, " if measured.ci95 else ""
        change = points(measured.edited - measured.baseline).removesuffix(" points")
        yield Number("Difference in points", change, f"{ends_text}{measured.n:,} rows")
        yield Number("Most frequent answer", percent(measured.majority_class), "always giving it")
    elif results.reported is not None:
        yield Number("Base model, reported", percent(results.reported.baseline), "not measured here")
        yield Number("With the edit, reported", percent(results.reported.edited), "not measured here")


def _checks(results: Results) -> Iterator[Fact]:
    """What stands beside an edit, or that it was not measured."""
    control = control_text(results.control, results.test) if results.control and results.test else NOT_MEASURED
    yield "random control", control
    yield "labels corrected", label_bias_text(results.label_bias) if results.label_bias else NOT_MEASURED
    yield "other text", guard_text(results.guard) if results.guard else NOT_MEASURED
    if results.bbc_cv is not None:
        yield "BBC-CV", bbc_cv_text(results.bbc_cv)


def _result_figures(edit: Edit, search: SearchDetails | None) -> Iterator[Figure]:
    accuracy = accuracy_figure(edit)
    if accuracy is not None:
        yield accuracy
    held_out = given_answers(edit.results.test)
    if held_out is not None:
        yield answers_figure(held_out, "held-out")
    elif search is not None and search.answers is not None:
        yield answers_figure(search.answers, "calibration")


def _search_figures(edit: Edit, search: SearchDetails | None) -> Iterator[Figure]:
    found = (
        scores_figure(search.explanation) if search else None,
        directions_figure(edit),
        tried_figure(search) if search else None,
        compute_figure(system_costs(edit, search)),
        sigma_figure(search.explanation.gradients) if search and search.explanation.gradients else None,
    )
    yield from filter(None, found)


def _tried(search: SearchDetails) -> Table | None:
    if not search.tried:
        return None
    headings = tuple(search.tried[0].cells)
    rows = tuple(
        (
            *(one.cells.get(heading, "") for heading in headings),
            percent(one.accuracy),
            f"{one.nll:.4f}",
            "winner" if one.best else "",
        )
        for one in search.tried[:MOST_TRIED]
    )
    count = len(search.tried)
    caption = "The candidates, best first" + (f": {len(rows)} of {count:,}" if len(rows) < count else "")
    numbers = [heading for heading in headings if all(one.cells.get(heading, "")[:1].isdigit() for one in search.tried)]
    return Table(caption, (*headings, "accuracy", "NLL", "place"), rows, (*numbers, "accuracy", "NLL"))
