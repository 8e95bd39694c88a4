"""The README.md of an edit on the hub: front matter that the hub reads, and what a person wants to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.matrix_edits import BlockSvdEdit, DirectionsEdit, PluginEdit
from cti_edits.artifact.ranks import K_SUBSPACES, full_ranks, kept_parameters
from cti_edits.artifact.records import Measurement, Results
from cti_edits.errors import printable
from cti_edits.hub.front_matter import front_matter, metric_name
from cti_edits.report.how_to_use import how_to_use
from cti_edits.report.measurements import control_text, cut_short_text, guard_text, label_bias_text
from cti_edits.stats import wilson_interval

YAML_FENCE = 3 * "-"


def model_card(edit: Edit, reference: str, license: str | None = None) -> str:  # noqa: A002 (the hub's name for it)
    """The text of README.md.

    Args:
        edit: what the card is of.
        reference: what a person writes for the edit, ``owner/name``.
        license: the hub's name of a licence, "apache-2.0"; left out if None.
    """
    lines = [YAML_FENCE, front_matter(edit, license).strip(), YAML_FENCE, "", *_body(edit, reference)]
    return "\n".join(lines) + "\n"


def _body(edit: Edit, reference: str) -> Iterator[str]:
    base = edit.base_model
    yield f"# {edit.name}"
    yield ""
    if edit.description:
        yield f"> {_text(edit.description)}"
        yield ""
    yield (
        f"An edit of {_code(base.id)}"
        + (f" (revision {_code(base.revision)})" if base.revision else "")
        + f", {base.architecture}, for cti-edits. "
        + (f"{_what_it_does(edit)} " if edit.edits else "")
        + f"{_files(edit)}; its digest is `{edit.digest()}`."
    )
    yield ""
    yield from _matrices(edit)
    yield ""
    yield "## Use it"
    yield ""
    yield from how_to_use(edit, reference)
    yield ""
    yield from _measured(edit)
    if edit.edits:
        yield "## Mind"
        yield ""
        yield from _caveats(edit)


def _what_it_does(edit: Edit) -> str:
    plugins = [one for one in edit.edits if isinstance(one, PluginEdit)]
    if plugins:
        some = "" if len(plugins) == len(edit.edits) else ", some of them"
        return f"It changes the matrices below{some} by a method of a plugin."
    directions = [one for one in edit.edits if isinstance(one, DirectionsEdit)]
    count = sum(len(one.index) for one in directions)
    if not directions:
        return "It cuts singular values of the matrices below and trains nothing."
    if len(directions) == len(edit.edits):
        plural = "s" if count > 1 else ""
        return f"It changes {count} singular value{plural} of the matrices below and no singular vector."
    return f"It cuts singular values of some of the matrices below and changes {count} of others singly."


def _files(edit: Edit) -> str:
    factors = sorted({one.factors.file for one in edit.edits if one.factors is not None})
    if not factors:
        return "`edit.json` is the whole of it"
    return f"`edit.json` is the edit, and the factors that it applies are in {', '.join(map(_code, factors))}"


def _caveats(edit: Edit) -> Iterator[str]:
    yield (
        "- The edited model is as large and as fast as its base: the edited matrices are written back dense, "
        "unless it is run with `factorize=true`."
    )
    for one in edit.edits:
        if isinstance(one, PluginEdit):
            yield (
                f"- `{one.module}` needs the package `{one.distribution}`, whose plugin has the method `{one.method}`."
            )
    hashed = [one.sha256 is not None for one in edit.edits]
    if all(hashed):
        yield "- The base is verified by the hashes of its matrices; another one is refused."
    elif any(hashed):
        yield "- It has the hashes of some of its matrices only: a base that differs in the others is not noticed."
    else:
        yield "- It has no hash of a matrix, so that nothing tells whether your base is the right one."
    if edit.task is not None:
        yield "- The edit was chosen for one task. What it does to others was not measured."


def _matrices(edit: Edit) -> Iterator[str]:
    if not edit.edits:
        yield "It is empty: no edit was better than the base model as it is."
        return
    cuts = [one for one in edit.edits if isinstance(one, BlockSvdEdit)]
    if cuts:
        yield (
            "| module | matrix | layer | rows × columns | row blocks K | share of the rank ρ | ranks kept "
            "| size of its factors |"
        )
        yield "| --- | --- | ---: | --- | ---: | ---: | --- | ---: |"
    for one in cuts:
        rows, columns = one.shape
        kept = kept_parameters(one.shape, one.block_ranks, one.partition) / (rows * columns)
        full = full_ranks(one.shape, one.clusters, one.partition)
        assigned = ", rows assigned by K-subspaces" if one.partition.startswith(K_SUBSPACES) else ""
        yield (
            f"| `{one.module}` | {one.matrix} | {one.id.place} | {rows} × {columns} | {one.clusters}{assigned} | "
            f"{one.rho:.12g} | {_range(one.block_ranks)} of {_range(full)} | {100 * kept:.1f} % |"
        )
    others = [one for one in edit.edits if not isinstance(one, BlockSvdEdit)]
    if others:
        if cuts:
            yield ""
        yield "| module | matrix | layer | rows × columns | method | what is done |"
        yield "| --- | --- | ---: | --- | --- | --- |"
    for other in others:
        rows, columns = other.shape
        yield (
            f"| `{other.module}` | {other.matrix} | {other.id.place} | {rows} × {columns} | {other.method} | "
            f"{other.summary} |"
        )


def _range(ranks: Sequence[int]) -> str:
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low} to {high}"


def _measured(edit: Edit) -> Iterator[str]:
    yield "## Results"
    yield ""
    for measured, heading in (
        (edit.results.test, "On the test part, which the search did not see"),
        (edit.results.calibration, "On the rows that chose the edit, so that these figures flatter it"),
    ):
        if measured is None:
            continue
        n = measured.n
        yield f"{heading}: {n:,} examples, intervals of 95 %."
        yield ""
        yield f"| | {_text(metric_name(edit))} | interval |"
        yield "| --- | ---: | --- |"
        for accuracy, name in ((measured.baseline, "base model"), (measured.edited, "with the edit")):
            low, high = wilson_interval(round(accuracy * n), n)
            yield f"| {name} | {100 * accuracy:.1f} % | {100 * low:.1f} to {100 * high:.1f} % |"
        yield f"| most frequent answer | {100 * measured.majority_class:.1f} % | |"
        yield ""
        yield _difference(measured)
        yield ""
        if measured is edit.results.test:
            yield from _beside(edit.results, measured)
    if edit.results.test is None:
        yield "It was **not measured** on rows that the search did not see."
        yield ""
    confirmation = edit.results.confirmation
    if confirmation is not None:
        yield (
            f"On {confirmation.n:,} fresh rows, by which it was chosen among the best few candidates: "
            f"{100 * confirmation.baseline:.1f} % without, {100 * confirmation.edited:.1f} % with the edit. "
            f"{_difference(confirmation)}"
        )
        yield ""
    if edit.search is not None and edit.search.time_budget is not None:
        yield cut_short_text(edit.search.time_budget)
        yield ""
    if edit.results.guard is not None:
        yield f"On text that has nothing to do with the task: {_text(guard_text(edit.results.guard))}."
        yield ""
    reported = edit.results.reported
    if reported is not None:
        yield (
            f"Reported by {_text(reported.source)} and not measured here: {100 * reported.baseline:.1f} % "
            f"without, {100 * reported.edited:.1f} % with the edit."
        )
        yield ""


def _beside(results: Results, test: Measurement) -> Iterator[str]:
    """The verdict, and what stands beside the edit on the same rows."""
    verdict = test.verdict()
    if verdict is not None:
        yield f"**Verdict: {verdict.word}**, since {verdict.reason}."
        yield ""
    beside = [
        *([("Random control", control_text(results.control, test))] if results.control else []),
        *([("Labels corrected", label_bias_text(results.label_bias))] if results.label_bias else []),
    ]
    for name, text in beside:
        yield f"- {name}: {_text(text)}."
    if beside:
        yield ""


def _difference(measured: Measurement) -> str:
    text = f"Difference {100 * (measured.edited - measured.baseline):+.1f} points"
    interval = measured.ci95
    if interval is not None:
        text += f", interval {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    if measured.p_value is not None:
        text += f", exact McNemar p = {measured.p_value:.3g}"
    if interval is not None and interval[0] <= 0 <= interval[1]:
        text += ": these examples do not tell the edit from no edit"
    return text + "."


def _text(value: str) -> str:
    """Someone's text on one line, with what Markdown and HTML would obey made plain."""
    shown = printable(value, 2000)
    return "".join("\\" + c if c in "\\`*_[]<>|#!" else c for c in shown)


def _code(value: str) -> str:
    return "`" + printable(value, 1000).replace("`", "'") + "`"
