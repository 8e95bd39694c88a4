"""The page of an edit: ``cti-edits report``, and beside the manifest after a search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.report.asked_lines import Fact, Table, asked, changed_matrices, origin
from cti_edits.report.compute import system_costs
from cti_edits.report.figures import Figure
from cti_edits.report.headline import Headline, headline
from cti_edits.report.page import page
from cti_edits.report.report_data import ChangedRow, LabelShares, ReportData, SearchDetails
from cti_edits.report.result_figures import accuracy_figure, shares_figure
from cti_edits.report.search_figures import (
    compute_figure,
    directions_figure,
    scores_figure,
    sigma_figure,
    tried_figure,
)
from cti_edits.report.words import interval, percent, points
from cti_edits.stats import wilson_interval

NOT_MEASURED = "not measured"
MOST_TRIED = 20
"""Of the candidates, so many are listed."""


@dataclass(frozen=True)
class Command:
    """What a person can type.

    Attributes:
        purpose: what for.
        text: the command.
    """

    purpose: str
    text: str


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
    result_figures: tuple[Figure, ...]
    asked: tuple[Fact, ...]
    matrices: Table
    search_figures: tuple[Figure, ...]
    tried: Table | None
    search: SearchDetails | None
    better: tuple[ChangedRow, ...]
    worse: tuple[ChangedRow, ...]
    labels: LabelShares | None
    checks: tuple[Fact, ...]
    commands: tuple[Command, ...]
    origin: tuple[Fact, ...]


def edit_report(data: ReportData, commands: tuple[Command, ...]) -> str:
    """The page.

    Args:
        data: the edit, and what its search knows.
        commands: what a person can type to go on.
    """
    edit, search = data.edit, data.search
    shares = search.shares if search else None
    return page(
        "report.html",
        ReportPage(
            edit=edit,
            headline=headline(edit),
            numbers=tuple(_numbers(edit)),
            result_figures=tuple(filter(None, (accuracy_figure(edit), shares_figure(shares) if shares else None))),
            asked=tuple(asked(edit)),
            matrices=changed_matrices(edit),
            search_figures=tuple(_search_figures(data)),
            tried=_tried(search) if search else None,
            search=search,
            better=tuple(row for row in search.changed if row.better) if search else (),
            worse=tuple(row for row in search.changed if not row.better) if search else (),
            labels=shares,
            checks=tuple(_checks()),
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
        yield Number("Difference", points(measured.edited - measured.baseline), f"on {measured.n:,} rows")
        yield Number("Most frequent answer", percent(measured.majority_class), "always giving it")
    elif results.reported is not None:
        yield Number("Base model, reported", percent(results.reported.baseline), "not measured here")
        yield Number("With the edit, reported", percent(results.reported.edited), "not measured here")


def _search_figures(data: ReportData) -> Iterator[Figure]:
    search = data.search
    found = (
        scores_figure(search.explanation) if search else None,
        directions_figure(data.edit),
        tried_figure(search) if search else None,
        compute_figure(system_costs(data)),
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
    return Table(caption, (*headings, "accuracy", "NLL", "place"), rows, (*headings[1:], "accuracy", "NLL"))


def _checks() -> Iterator[Fact]:
    yield "Random control", NOT_MEASURED
    yield "Correction of the label bias, without an edit", NOT_MEASURED
    yield "Guard on neutral text", NOT_MEASURED
