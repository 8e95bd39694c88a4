"""An edit as an HTML table, which notebooks show in the place of a long line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cti_edits.artifact.manifest import Edit

HEADINGS = ("matrix", "layer", "K", "ρ", "ranks kept", "shape")
PARTS = (
    ("test", "on test rows"),
    ("calibration", "on the rows that chose it"),
    ("reported", "as reported, not measured here"),
)
"""Which figures are shown, the held-out ones first."""


def edit_table(edit: Edit) -> str:
    """The edit's name, base model and digest, a row for each matrix edit, and what was measured."""
    rows = [
        (one.matrix, one.layer, one.clusters, f"{one.rho:g}", sum(one.block_ranks), f"{one.shape[0]} × {one.shape[1]}")
        for one in edit.edits
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
    for part, words in PARTS:
        figures = edit.results.get(part)
        if figures:
            majority = figures.get("majority_class")
            yield (
                f"{100 * figures['baseline']:.1f} → {100 * figures['edited']:.1f} % {words}"
                + (f" (n = {figures['n']})" if figures.get("n") else "")
                + (f"; always the most frequent answer: {100 * majority:.1f} %" if majority is not None else "")
            )


def _row(cells: Sequence[object], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"


def _text(value: object) -> str:
    return escape(str(value))
