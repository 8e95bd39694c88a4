"""One page of many edits, to sort, filter and compare: ``cti-edits gallery``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import Measurement
from cti_edits.report.figures import ACCENT, QUIET, WIDTH, Figure, drawn, name_text
from cti_edits.report.headline import headline
from cti_edits.report.page import page
from cti_edits.report.words import percent, points, points_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_DRAWN = 40
"""Edits in the figure; the table has all."""


@dataclass(frozen=True)
class GalleryRow:
    """An edit in the table.

    Attributes:
        name: of the file.
        link: the edit's own page, if there is one, from the folder of the gallery.
        task: that it was made for.
        base: its base model.
        what: what it does, in a few words.
        verdict: in a word.
        rows: which rows the accuracies are of.
        baseline: accuracy of the base model, as a share.
        edited: accuracy with the edit.
        difference: of both, in points; None where nothing is known.
        ends: its 95 % interval.
        digest: the first characters.
    """

    name: str
    link: str | None
    task: str
    base: str
    what: str
    verdict: str
    rows: str
    baseline: float | None
    edited: float | None
    difference: float | None
    ends: tuple[float, float] | None
    digest: str

    @property
    def texts(self) -> tuple[tuple[str, float | str], ...]:
        """Cells of figures: the text, and what it is sorted by."""
        known = -9.0
        return (
            (
                "" if self.baseline is None else percent(self.baseline),
                known if self.baseline is None else self.baseline,
            ),
            ("" if self.edited is None else percent(self.edited), known if self.edited is None else self.edited),
            (
                "" if self.difference is None else points(self.difference).removesuffix(" points"),
                known if self.difference is None else self.difference,
            ),
            ("" if self.ends is None else points_interval(*self.ends), known if self.ends is None else self.ends[0]),
        )


@dataclass(frozen=True)
class GalleryPage:
    """What the template ``gallery.html`` shows."""

    rows: tuple[GalleryRow, ...]
    tasks: tuple[str, ...]
    verdicts: tuple[str, ...]
    figure: Figure | None
    refused: tuple[str, ...]


def gallery(edits: Sequence[tuple[Path, Edit]], target: Path, refused: Sequence[str] = ()) -> str:
    """The page.

    Args:
        edits: files and what they hold.
        target: where the page will be, which its links start from.
        refused: what is wrong with the files that are no edits.
    """
    rows = tuple(_row(path, edit, target) for path, edit in edits)
    return page(
        "gallery.html",
        GalleryPage(
            rows=rows,
            tasks=tuple(sorted({row.task for row in rows})),
            verdicts=tuple(sorted({row.verdict for row in rows})),
            figure=_figure(rows),
            refused=tuple(refused),
        ),
    )


def _row(path: Path, edit: Edit, target: Path) -> GalleryRow:
    baseline, edited, ends, rows = _accuracies(edit)
    own = path.with_suffix(".html")
    link = None
    if own.is_file() and own.resolve() != target.resolve():
        link = quote(os.path.relpath(own.resolve(), target.resolve().parent).replace(os.sep, "/"))
    return GalleryRow(
        name=path.stem,
        link=link,
        task=edit.task.name if edit.task else "",
        base=edit.base_model.id,
        what=_what(edit),
        verdict=headline(edit).word,
        rows=rows,
        baseline=baseline,
        edited=edited,
        difference=None if baseline is None or edited is None else edited - baseline,
        ends=ends,
        digest=edit.digest()[:12],
    )


def _accuracies(edit: Edit) -> tuple[float | None, float | None, tuple[float, float] | None, str]:
    """Both accuracies, the interval of their difference, and which rows they are of; held-out ones first."""
    results = edit.results
    measured: Measurement | None
    for measured, rows in ((results.test, "held out"), (results.calibration, "calibration")):
        if measured is not None:
            return measured.baseline, measured.edited, measured.ci95, rows
    if results.reported is not None:
        return results.reported.baseline, results.reported.edited, None, "reported"
    return None, None, None, ""


def _what(edit: Edit) -> str:
    if not edit.edits:
        return "nothing"
    if len(edit.edits) == 1:
        one = edit.edits[0]
        return f"{one.id.short}: {one.summary}"
    return f"{', '.join(sorted({one.method for one in edit.edits}))} of {len(edit.edits)} matrices"


def _figure(rows: Sequence[GalleryRow]) -> Figure | None:
    """Differences with their intervals, the largest first."""
    known = sorted((row for row in rows if row.difference is not None), key=lambda row: -(row.difference or 0.0))
    if not known:
        return None
    shown = known[:MOST_DRAWN]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for place, row in enumerate(shown):
            colour = ACCENT if row.rows == "held out" else QUIET
            if row.ends is not None:
                axes.plot([100 * end for end in row.ends], [place, place], color=colour, linewidth=2.2)
            axes.plot([100 * (row.difference or 0.0)], [place], "o", color=colour, markersize=6)
        axes.axvline(0, color=QUIET, linewidth=1.0)
        axes.set_yticks(range(len(shown)), [name_text(row.name) for row in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("points of accuracy, edited − base")

    cut = f" The first {len(shown)} of {len(known)}." if len(shown) < len(known) else ""
    return drawn(
        "differences",
        "Differences",
        f"Accuracy with the edit less that of the base, with 95 % intervals; in grey what was not held out.{cut}",
        ("edit", "rows", "points", "95 % interval"),
        [(row.name, row.rows, row.texts[2][0], row.texts[3][0]) for row in known],
        draw,
        (WIDTH, 0.9 + 0.24 * max(4, len(shown))),
    )
