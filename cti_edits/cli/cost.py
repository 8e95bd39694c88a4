"""``cti-edits cost``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from cti_edits.cli import options
from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.errors import EditError
from cti_edits.report.listing import print_listing

if TYPE_CHECKING:
    from cti_edits.models.architectures import Kind

Option = typer.Option


def cost(
    preset: Annotated[str, Option(help="One of cti-edits presets.", show_default=False)],
    layers: Annotated[int, Option(help="Blocks of the model, of all its stacks: 28 for GPT-J.", show_default=False)],
    task: Annotated[
        str | None, Option(help="A task of the paper, or any lm-eval task, to count its rows.", show_default=False)
    ] = None,
    dataset_size: Annotated[int | None, Option(help="Rows of the task.", show_default=False)] = None,
    kind: Annotated[
        str | None,
        Option(
            help="causal, masked or seq2seq.",
            show_default="masked for a task called so, else causal",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a search costs in forward passes, as the paper counts and here, and its speed-up over laser."""
    from cti_edits.cli.json_records import SearchCost, passes
    from cti_edits.search.cost import as_printed, candidate_count, cost_here, paper_cost, speed_up
    from cti_edits.search.presets import find_preset
    from cti_edits.search.settings import CONTROL_DRAWS, HELD_OUT

    chosen = find_preset(preset)
    if kind is None:
        model_kind: Kind = "masked" if task is not None and task.endswith("_masked") else "causal"
    else:
        model_kind = options.model_kind(kind)
    size, source = _dataset_size(task, dataset_size, model_kind)
    for option, value in (("--dataset-size", size), ("--layers", layers)):
        if not 1 <= value <= 1_000_000_000:
            raise EditError(f"{option}: expected 1 to 1,000,000,000, got {value}")
    paper = paper_cost(chosen, model_kind, size, layers)
    here = cost_here(chosen, model_kind, size, layers)
    without = cost_here(chosen, model_kind, size, layers, held_out=0)
    count, faster = candidate_count(chosen, model_kind, layers), speed_up(chosen, model_kind, size, layers)
    if as_json:
        counted = (count, passes(paper), passes(here), without.total, float(faster))
        print_json(SearchCost(chosen.name, model_kind, size, layers, *counted))
        return
    rows = [
        ("gradients", paper.gradients, here.gradients),
        *([("fitting", paper.fitting, here.fitting)] if here.fitting else []),
        ("candidates", paper.candidates, here.candidates),
        ("unedited model", paper.unedited, here.unedited),
        ("test part", paper.test, here.test),
        ("random control", paper.control, here.control),
        ("other text", paper.guard, here.guard),
        ("total", paper.total, here.total),
    ]
    print(
        f"{chosen.name}: {size:,} rows{source}, {layers} layers, {model_kind} language model, "
        f"{count:,} candidate{'' if count == 1 else 's'}"
    )
    print_listing(
        ("forward passes", "as the paper counts", "here"),
        [(what, f"{theirs:,.0f}", f"{ours:,.0f}") for what, theirs, ours in rows],
        right=("as the paper counts", "here"),
    )
    print(f"speed-up over laser, as the paper counts: {as_printed(faster)} times")
    print(
        ("" if here.gradients == 0 or not chosen.cuts_ranks else "Here one gradient pass serves every K. ")
        + ("Fitting is counted with all epochs, the most that it takes. " if here.fitting else "")
        + f"Here the base model and {CONTROL_DRAWS} random edits are measured on the test rows, too, of which "
        f"{HELD_OUT:,} are drawn. With --test-rows none: {without.total:,.0f} forward passes."
    )
    if chosen.compose > 1:
        print(f"Of one edit: at most {chosen.compose} are composed, each for as much again but the test part.")


def _dataset_size(task: str | None, size: int | None, kind: Kind) -> tuple[int, str]:
    """Number of rows: ``size``, the paper's count for its own tasks, or else what lm-eval loads; and which it is."""
    if (task is None) == (size is None):
        raise EditError("expected either --task or --dataset-size" + ("" if task is None else ", got both"))
    if size is not None:
        return size, ""
    assert task is not None
    from cti_edits.paper.published import paper_tables

    sizes: dict[str, int] = paper_tables()["table_6_dataset_sizes"]
    short = task.removeprefix("cti_").removesuffix("_masked")
    if short in sizes:
        return sizes[short], " (the paper's count)"
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from cti_edits.harness.calibration import row_count
    from cti_edits.harness.tasks import load_task

    return row_count(load_task(task, kind=kind)), ""
