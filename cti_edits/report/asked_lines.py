"""What a search was asked and what an edit is made of, as rows of a page: headings and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import SearchRecord

MOST_MATRICES = 100
"""Of an edit of more matrices, so many are listed."""

Fact = tuple[str, str]
"""What it is, and its value."""


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        caption: what it is.
        headings: of its columns.
        rows: its texts.
        numbers: headings of the columns that are numbers.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()


def asked(edit: Edit) -> Iterator[Fact]:
    """The model, the task, the rows, and what was tried."""
    base = edit.base_model
    yield "base model", base.id
    if base.revision:
        yield "revision", base.revision
    yield "class", base.architecture + (f", {base.dtype}" if base.dtype else "")
    if edit.task is not None:
        data = edit.task.dataset
        yield "task", edit.task.name
        yield "metric", edit.task.metric
        yield "rows from", ", ".join(filter(None, (data.id, data.revision, data.split))) or "not said"
    if edit.search is not None:
        yield from _search(edit.search)


def origin(edit: Edit) -> Iterator[Fact]:
    """Where the edit is from."""
    made = edit.provenance
    yield "digest", edit.digest()
    yield "made by", made.tool
    if made.created:
        yield "made at", made.created
    if made.source:
        yield "source", made.source
    yield from made.versions.items()


def changed_matrices(edit: Edit) -> Table:
    """A row for each matrix edit, up to `MOST_MATRICES`."""
    shown = edit.edits[:MOST_MATRICES]
    caption = "The matrices that the edit changes"
    if len(shown) < len(edit.edits):
        caption += f": the first {len(shown):,} of {len(edit.edits):,}"
    return Table(
        caption,
        ("matrix", "layer", "method", "what is done", "shape", "base verified"),
        tuple(
            (
                one.matrix,
                one.id.place,
                one.method,
                one.summary,
                f"{one.shape[0]} × {one.shape[1]}",
                "by hash" if one.sha256 else "no hash",
            )
            for one in shown
        ),
        ("layer",),
    )


def _search(search: SearchRecord) -> Iterator[Fact]:
    yield "preset", search.preset or "none"
    for name, value in (("method", search.method), ("scorer", search.scorer), ("selector", search.selector)):
        if value is not None:
            yield name, value
    evaluated = search.samples if search.evaluated_on is None else search.evaluated_on
    yield "calibration rows", f"{evaluated:,}, seed {search.seed}"
    if search.samples != evaluated:
        yield "gradient rows", f"{search.samples:,}"
    yield "candidates", f"{search.candidates:,}"
    yield "matrices", ", ".join(search.matrices)
    if search.top_q is not None:
        yield "kept for each K", str(search.top_q)
    for name, values in (
        ("row blocks K", search.clusters),
        ("shares ρ of the rank", search.rates),
        ("numbers N of directions", search.directions or ()),
        ("shares f of the loss", search.drops or ()),
    ):
        if values:
            yield name, _listed(values)
    if search.epochs:
        yield "epochs", str(search.epochs)
    if search.confirm:
        yield "compared again", f"the best {search.confirm:,}, on fresh rows"
    if search.max_kl is not None:
        yield "limit on other text", f"KL {search.max_kl:g} nats a token"
    if search.asked is not None:
        for field in dataclasses.fields(search.asked.prompt):
            value = getattr(search.asked.prompt, field.name)
            if field.name in ("num_fewshot", "apply_chat_template", "system_instruction", "gen_kwargs") and value:
                yield field.name.replace("_", " "), str(value)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,}" if isinstance(value, int) else f"{value:g}" for value in values)
