"""``cti-edits search``."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cti_edits.cli import options
from cti_edits.cli import search_options as of
from cti_edits.cli.default_output import default_output
from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.models.architectures import Kind
    from cti_edits.search.settings import SearchSettings

REFERENCE_BATCH_SIZE = 16
"""Requests in one pass of the reference evaluator, where nothing else is asked for."""


def search(
    task: of.Task = None,
    rows: of.Rows = None,
    test_rows: of.TestRows = None,
    model: of.Model = "EleutherAI/gpt-j-6b",
    model_args: of.ModelArgs = "",
    preset: of.Preset = None,
    samples: of.Samples = None,
    top_q: of.TopQ = None,
    clusters: of.Clusters = None,
    rates: of.Rates = None,
    matrices: of.Matrices = None,
    scorer: of.Scorer = None,
    selector: of.Selector = None,
    partition: of.Partition = None,
    seed: of.Seed = 0,
    device: of.Device = None,
    dtype: of.Dtype = "auto",
    num_fewshot: of.NumFewshot = None,
    fewshot_as_multiturn: of.FewshotAsMultiturn = None,
    apply_chat_template: of.ApplyChatTemplate = None,
    system_instruction: of.SystemInstruction = None,
    gen_kwargs: of.GenKwargs = "",
    metadata: of.Metadata = "",
    metric: of.Metric = None,
    batch_size: of.BatchSize = "auto",
    evaluator: of.Evaluator = "replay",
    exact_stop: of.ExactStop = True,
    final: of.Final = False,
    final_limit: of.FinalLimit = None,
    include_path: of.IncludePath = None,
    output: of.Output = None,
) -> None:
    """Search an edit that makes MODEL better at TASK, and write it as a manifest.

    Lines of --data have prompt and answer, or prompt, choices and gold, the index of the right choice.
    """
    # Before transformers, tqdm and datasets are imported: the search has a progress bar of its own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from cti_edits.search.settings import check_task_or_rows

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
    parts = {"scorer": scorer, "selector": selector, "partition": partition}
    overrides |= {part: chosen for part, chosen in parts.items() if chosen is not None}
    # Top q and K of a preset depend on the kind of model; options are checked before the model's config is read.
    _settings(preset, "causal", overrides)
    check_task_or_rows(task, rows)
    if test_rows is not None and rows is None:
        raise EditError("test_rows: only together with --data")
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
    from cti_edits.harness.own_rows import read_own_rows
    from cti_edits.harness.prompting import Prompting
    from cti_edits.harness.tasks import load_task
    from cti_edits.report.search_report import print_report
    from cti_edits.search.examples import examples, task_of_rows
    from cti_edits.search.record import edit_name
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
    if rows is not None:
        of_rows = task_of_rows(read_own_rows(rows), None if test_rows is None else read_own_rows(test_rows), settings)
        loaded, settings = of_rows.task, of_rows.settings
        if final:
            of_rows.check_final()
    else:
        # lm-eval hands the model's arguments to tasks, too; of these, a data set would take the revision for its own.
        of_model = {key: value for key, value in arguments.items() if key != "revision"}
        loaded = load_task(str(task), include_path, base.kind, {**of_model, **options.arguments("metadata", metadata)})
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
