"""An edit as an HTML table, which notebooks show in the place of a long line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cti_edits.artifact.manifest import Edit

HEADINGS = ("matrix", "layer", "method", "what is done", "shape")


def edit_table(edit: Edit) -> str:
    """The edit's name, base model and digest, a row for each matrix edit, and what was measured."""
    rows = [
        (one.matrix, one.id.place, one.method, one.summary, f"{one.shape[0]} × {one.shape[1]}") for one in edit.edits
    ]
    caption = f"<b>{_text(edit.name)}</b>, an edit of {_text(edit.base_model.id)}, digest {edit.digest()[:12]}"
    below = "".join(f"<p>{_text(line)}</p>" for line in _measured(edit))
    if not rows:
        return f"<p>{caption}; it changes no matrix</p>{below}"
    body = "".join(_row(row) for row in rows)
    return (
        f"<table><caption>{caption}</caption><thead>{_row(HEADINGS, 'th')}</thead><tbody>{body}</tbody></table>{below}"
    )


def _measured(edit: Edit) -> Iterator[str]:
    """A line for each pair of accuracies, the held-out ones first."""
    results = edit.results
    verdict = None if results.test is None else results.test.verdict()
    if verdict is not None:
        yield f"{verdict.word}: {verdict.reason}"
    for measured, rows in (
        (results.test, "test rows"),
        (results.confirmation, "the rows that chose it among few"),
        (results.calibration, "the rows that chose it, which flatter it"),
    ):
        if measured is not None:
            yield (
                f"{100 * measured.baseline:.1f} → {100 * measured.edited:.1f} % on {rows} (n = {measured.n}); "
                f"always the most frequent answer: {100 * measured.majority_class:.1f} %"
            )
    if results.test is None and (results.calibration or results.confirmation) is not None:
        yield "not measured on rows that the search did not see"
    reported = results.reported
    if reported is not None:
        yield f"{100 * reported.baseline:.1f} → {100 * reported.edited:.1f} % as reported, not measured here"


def _row(cells: Sequence[object], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"


def _text(value: object) -> str:
    return escape(str(value))
