"""``cti-edits search``."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cti_edits.cli import options
from cti_edits.cli.edit_name import default_output, edit_name
from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.models.architectures import Kind
    from cti_edits.search.settings import SearchSettings

Option = typer.Option

REFERENCE_BATCH_SIZE = 16
"""Requests in one pass of the reference evaluator, where nothing else is asked for."""


def search(
    task: Annotated[str, Option(help="lm-eval task; fever is short for cti_fever.", show_default=False)],
    model: Annotated[str, Option(help="Hub id or checkpoint folder of the base model.")] = "EleutherAI/gpt-j-6b",
    model_args: Annotated[str, Option(help="More arguments for lm-eval's hf model, key=value,key=value or JSON.")] = "",
    preset: Annotated[
        str | None, Option(help="One of the paper's systems, see cti-edits presets.", show_default=False)
    ] = None,
    samples: Annotated[
        int | None,
        Option(help="Examples drawn from the validation part.", show_default="the preset's, else 100"),
    ] = None,
    top_q: Annotated[
        int | None,
        Option(help="Matrices kept for each number of clusters.", show_default="the preset's, else 5"),
    ] = None,
    clusters: Annotated[
        str | None,
        Option(help="Numbers of row blocks K that are tried.", show_default="the preset's, else 1,2,4,8,16"),
    ] = None,
    rates: Annotated[
        str | None,
        Option(help="Shares of the rank, rho, that are tried.", show_default="0.9,0.8,0.6,0.4,0.2,0.1,0.05,0.01,0.005"),
    ] = None,
    matrices: Annotated[str | None, Option(help="Matrices that are tried.", show_default="U_in,U_out")] = None,
    seed: Annotated[int, Option(help="Seed of the draw.")] = 0,
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:0, mps.", show_default="cuda if there is one")] = None,
    dtype: Annotated[str, Option(help="float32, bfloat16, float16 or auto, the checkpoint's.")] = "auto",
    num_fewshot: Annotated[int | None, Option(help="Examples before each prompt.", show_default="the task's")] = None,
    fewshot_as_multiturn: Annotated[
        str | None,
        Option(metavar="[BOOLEAN]", help="Have them as turns.", show_default="true with a chat template"),
    ] = None,
    apply_chat_template: Annotated[
        str | None, Option(metavar="[NAME]", help="Put prompts through the chat template.", show_default=False)
    ] = None,
    system_instruction: Annotated[str | None, Option(help="Goes before every prompt.", show_default=False)] = None,
    gen_kwargs: Annotated[
        str, Option(help="Arguments of generation, key=value,key=value or JSON.", show_default="the task's")
    ] = "",
    metadata: Annotated[str, Option(help="For tasks whose rows depend on it, JSON.", show_default=False)] = "",
    metric: Annotated[
        str | None,
        Option(help="NAME or NAME,FILTER: 0 or 1 for each example.", show_default="acc, else the first such"),
    ] = None,
    batch_size: Annotated[
        str,
        Option(
            metavar="INTEGER|auto",
            help="In one pass: rows of 256 tokens; with the reference evaluator, requests.",
            show_default="by device: 1 on a CPU, else 16; 16 requests",
        ),
    ] = "auto",
    evaluator: Annotated[str, Option(help="replay, or reference: edit the model and ask lm-eval.")] = "replay",
    exact_stop: Annotated[bool, Option(help="Stop a candidate that provably cannot win any more.")] = True,
    final: Annotated[bool, Option("--final", help="Measure the edit that is found once, on the test part.")] = False,
    final_limit: Annotated[
        int | None, Option(help="With --final: on the first so many test rows only.", show_default="all")
    ] = None,
    include_path: Annotated[str | None, Option(help="Folder with more lm-eval tasks.", show_default=False)] = None,
    output: Annotated[
        Path | None, Option(help="Where the edit goes.", show_default="edits/MODEL-TYPE_TASK.json")
    ] = None,
) -> None:
    """Search an edit that makes MODEL better at TASK, and write it as a manifest."""
    # Before transformers, tqdm and datasets are imported: the search has a progress bar of its own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    overrides: dict[str, object] = {"seed": seed}
    if samples is not None:
        overrides["samples"] = samples
    if top_q is not None:
        overrides["top_q"] = top_q
    if clusters is not None:
        overrides["clusters"] = options.numbers("clusters", clusters, int)
    if rates is not None:
        overrides["rates"] = options.numbers("rates", rates, float)
    if matrices is not None:
        overrides["matrices"] = options.names(matrices)
    # Top q and K of a preset depend on the kind of model; options are checked before the model's config is read.
    _settings(preset, "causal", overrides)
    if final_limit is not None and not final:
        raise EditError("final_limit: only together with --final")
    if evaluator not in ("replay", "reference"):
        raise EditError(f"evaluator: expected replay or reference, got {printable(evaluator)!r}")
    together = options.batch_size(batch_size)
    arguments = options.arguments("model_args", model_args)

    warnings.filterwarnings("ignore")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from cti_edits.cli.progress import TerminalProgress
    from cti_edits.files import check_writable
    from cti_edits.harness.calibration import final_part
    from cti_edits.harness.lm import check_matrices, load_base, read_base
    from cti_edits.harness.prompting import Prompting
    from cti_edits.harness.tasks import load_task
    from cti_edits.report.search_report import print_report
    from cti_edits.search.examples import examples
    from cti_edits.search.runner import run_search

    prompting = Prompting(
        num_fewshot,
        options.chat_template(apply_chat_template),
        None if fewshot_as_multiturn is None else options.boolean("fewshot_as_multiturn", fewshot_as_multiturn),
        system_instruction,
        options.arguments("gen_kwargs", gen_kwargs),
    )
    base = read_base(model, arguments)
    settings = _settings(preset, base.kind, overrides)
    check_matrices(base.model_type, settings.matrices)
    # lm-eval hands the model's arguments to tasks, too; of these, a data set would take the revision for its own.
    of_model = {key: value for key, value in arguments.items() if key != "revision"}
    loaded = load_task(task, include_path, base.kind, {**of_model, **options.arguments("metadata", metadata)})
    name = edit_name(base.model_type, loaded.config.task, settings.preset)
    target = output or default_output(name)
    check_writable(target)
    # Drawn before the model is loaded, so that an error of the task comes first, and again with its chat template.
    chosen = examples(loaded, settings, prompting, metric)
    test = final_part(loaded, final_limit, prompting, metric) if final else None
    lm = load_base(base, device=device, dtype=dtype, batch_size=together or REFERENCE_BATCH_SIZE)
    if prompting.apply_chat_template:
        prompting = prompting.with_model(lm)
        chosen = examples(loaded, settings, prompting, metric)
        test = final_part(loaded, final_limit, prompting, metric) if final else None
    calibration = chosen.evaluations
    result = run_search(
        lm,
        calibration,
        settings,
        name=name,
        base_id=base.id,
        progress=TerminalProgress(),
        gradient_examples=chosen.gradients,
        test=test,
        evaluator="reference" if evaluator == "reference" else "replay",
        exact_stop=exact_stop,
        batch_rows=together,
    )
    result.edit.write(target)
    print_report(result, calibration, target)


def _settings(preset: str | None, kind: Kind, overrides: Mapping[str, object]) -> SearchSettings:
    """The preset's settings, or the defaults, with the options over them."""
    from cti_edits.search.presets import find_preset, with_overrides
    from cti_edits.search.settings import SearchSettings

    base = SearchSettings() if preset is None else find_preset(preset).settings(kind)
    return with_overrides(base, overrides)
