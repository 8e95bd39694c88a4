"""``cti-edits show``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cti_edits.errors import printable
from cti_edits.manifest import Edit, load
from cti_edits.ranks import full_ranks, kept_parameters


def show(file: Annotated[str, typer.Argument(metavar="FILE", help="An edit manifest.", show_default=False)]) -> None:
    """Show an edit: what it changes, what it keeps, where it came from, what it measured."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    edit = load(file)
    console = Console()

    def line(key: str, value: object) -> None:
        console.print(f"[bold]{key:<12}[/bold] {escape(printable(value, 2000))}", highlight=False, soft_wrap=True)

    line("name", edit.name)
    line("description", edit.description)
    line("digest", edit.digest())
    base = edit.base_model
    line(
        "base model",
        f"{base.id} ({base.architecture}, {base.dtype or 'any dtype'}, revision {base.revision or 'not given'})",
    )
    if edit.edits:
        table = Table()
        for column in (
            "matrix",
            "layer",
            "module",
            "shape",
            "ρ",
            "K",
            "ranks kept",
            "parameters kept",
            "base verified by",
        ):
            table.add_column(column, justify="left" if column in ("matrix", "module") else "right")
        for one in edit.edits:
            dense = one.shape[0] * one.shape[1]
            table.add_row(
                escape(one.matrix),
                str(one.layer),
                escape(one.module),
                f"{one.shape[0]} × {one.shape[1]}",
                f"{one.rho:g}",
                str(one.clusters),
                f"{_ranks(one.block_ranks)} of {_ranks(full_ranks(one.shape, one.clusters))}",
                f"{100 * kept_parameters(one.shape, one.block_ranks) / dense:.1f} %",
                one.sha256[:12] + "…" if one.sha256 else "nothing",
            )
        console.print(table)
    else:
        line("edits", "none: the base model as it is")
    _origin(edit, line)
    for part in ("calibration", "test"):
        if edit.results[part] is not None:
            line(part, describe_measurement(edit.results[part]))
    reported = edit.results.get("reported")
    if reported is not None:
        line(
            "reported",
            f"accuracy {100 * reported['baseline']:.1f} % → {100 * reported['edited']:.1f} % by "
            f"{reported['source']}, not measured here",
        )


def _ranks(ranks: tuple[int, ...]) -> str:
    """``4 × 102`` for four equal ranks, else the ranks joined by commas."""
    if len(set(ranks)) == 1:
        return str(ranks[0]) if len(ranks) == 1 else f"{len(ranks)} × {ranks[0]}"
    return ",".join(map(str, ranks)) if len(ranks) <= 8 else f"{min(ranks)} to {max(ranks)}"


def _origin(edit: Edit, line: Any) -> None:
    if edit.task is not None:
        line("task", f"{edit.task['name']}, metric {edit.task['metric']}")
    if edit.search is not None:
        found = edit.search
        line(
            "search",
            f"{found['candidates']} candidates on {found.get('evaluated_on', found['samples'])} examples, "
            f"seed {found['seed']}" + (f", preset {found['preset']}" if found["preset"] else ""),
        )
    provenance = edit.provenance
    line("made", ", ".join(str(provenance[key]) for key in ("created", "tool", "source") if provenance[key]))


def describe_measurement(measured: Mapping[str, Any]) -> str:
    """An entry of the manifest's ``results`` in words, with the intervals that it allows."""
    from cti_edits.stats import wilson_interval

    n = measured["n"]

    def accuracy(share: float) -> str:
        low, high = wilson_interval(round(share * n), n)
        return f"{100 * share:.1f} % ({100 * low:.1f}–{100 * high:.1f})"

    text = (
        f"accuracy {accuracy(measured['baseline'])} → {accuracy(measured['edited'])} on {n} examples, 95 % intervals; "
        f"most frequent answer {100 * measured['majority_class']:.1f} %"
    )
    if "ci95" in measured:
        text += f"; difference {100 * measured['ci95'][0]:+.1f} to {100 * measured['ci95'][1]:+.1f} points"
    if "p_value" in measured:
        text += f", McNemar p = {measured['p_value']:.3g}"
    return text
