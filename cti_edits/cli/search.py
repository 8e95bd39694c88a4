"""``cti-edits search``."""

from __future__ import annotations

from cti_edits.cli import options
from cti_edits.cli import search_options as of
from cti_edits.cli.default_output import default_output, page_beside
from cti_edits.cli.going_on import going_on
from cti_edits.cli.json_output import print_json
from cti_edits.cli.quiet import quiet
from cti_edits.cli.search_settings import given_settings, search_settings
from cti_edits.errors import EditError, printable


def search(
    task: of.Task = None,
    rows: of.Rows = None,
    test_rows: of.TestRows = None,
    model: of.Model = "EleutherAI/gpt-j-6b",
    model_args: of.ModelArgs = "",
    architecture: of.Architecture = None,
    preset: of.Preset = None,
    samples: of.Samples = None,
    top_q: of.TopQ = None,
    clusters: of.Clusters = None,
    rates: of.Rates = None,
    matrices: of.Matrices = None,
    stack: of.Stack = None,
    scorer: of.Scorer = None,
    selector: of.Selector = None,
    partition: of.Partition = None,
    method: of.Method = None,
    directions: of.Directions = None,
    drops: of.Drops = None,
    epochs: of.Epochs = None,
    compose: of.Compose = None,
    confirm: of.Confirm = None,
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
    held_out: of.HeldOut = None,
    control: of.Control = True,
    guard: of.Guard = None,
    max_kl: of.MaxKl = None,
    include_path: of.IncludePath = None,
    report: of.Report = True,
    output: of.Output = None,
    time_budget: of.TimeBudget = None,
    extend: of.Extend = False,
    fresh: of.Fresh = False,
    as_json: of.AsJson = False,
) -> None:
    """Search an edit that makes MODEL better at TASK, and write it as a manifest.

    Lines of --data have prompt and answer, or prompt, choices and gold, the index of the right choice.

    Finished steps are kept in a log beside the output, NAME.search.jsonl: after an interruption, the same command goes
    on where it stopped.
    """
    quiet()
    from cti_edits.cli.progress import TerminalProgress

    progress = TerminalProgress()
    with progress.waiting("beginning"):
        from cti_edits.search.search_log import SearchLog, log_path
        from cti_edits.search.settings import check_limit, check_task_or_rows, held_out_rows, metric_and_selector
        from cti_edits.search.time_budget import seconds_of

    metric, selector = metric_and_selector(metric, selector)
    given = given_settings(
        {
            "seed": seed, "samples": samples, "top_q": top_q, "clusters": clusters, "rates": rates,
            "matrices": matrices, "stack": stack, "scorer": scorer, "selector": selector, "partition": partition,
            "method": method, "directions": directions, "drops": drops, "epochs": epochs,
            "compose": compose, "confirm": confirm, "max_kl": max_kl,
        }
    )  # fmt: skip
    # Top q and K of a preset depend on the kind of model; options are checked before the model's config is read.
    search_settings(preset, "causal", given)
    check_task_or_rows(task, rows)
    if test_rows is not None and rows is None:
        raise EditError("test_rows: only together with --data")
    measured_on = held_out_rows(held_out)
    if evaluator not in ("replay", "reference"):
        raise EditError(f"evaluator: expected replay or reference, got {printable(evaluator)!r}")
    if extend and fresh:
        raise EditError("extend: expected it or a search that begins anew, got both (fresh)")
    seconds = None if time_budget is None else seconds_of(time_budget)
    together = options.batch_size(batch_size)
    arguments = options.arguments("model_args", model_args)

    with progress.waiting("loading torch, transformers and lm-eval"):
        from cti_edits.cli.json_records import SearchEnd
        from cti_edits.cli.search_command import commands
        from cti_edits.files import check_writable, write_atomically
        from cti_edits.harness.lm import check_matrices, load_base, read_base
        from cti_edits.harness.other_text import other_text
        from cti_edits.harness.own_rows import read_own_rows
        from cti_edits.harness.reference_evaluator import BATCH_SIZE
        from cti_edits.models.architectures import use_architecture
        from cti_edits.report.edit_report import edit_report
        from cti_edits.report.search_report import print_report
        from cti_edits.search.details import search_details
        from cti_edits.search.examples import examples, searched_task
        from cti_edits.search.finished_search import FinishedSearch
        from cti_edits.search.record import edit_name
        from cti_edits.search.runner import run_search

    prompting = options.prompting(
        num_fewshot, apply_chat_template, fewshot_as_multiturn, system_instruction, gen_kwargs
    )
    if architecture is not None:
        use_architecture(architecture)
    with progress.waiting("reading the model's config and the rows"):
        base = read_base(model, arguments)
        settings = search_settings(preset, base.kind, given)
        check_matrices(base.model_type, settings.matrices, settings.stack)
        # lm-eval hands the model's arguments to tasks, too; of these, a data set would take the revision for its own.
        of_model = {key: value for key, value in arguments.items() if key not in ("revision", "architecture")}
        loaded, settings = searched_task(
            str(task) if rows is None else read_own_rows(rows),
            settings,
            test_rows=None if test_rows is None else read_own_rows(test_rows),
            held_out=measured_on,
            include_path=include_path,
            kind=base.kind,
            metadata={**of_model, **options.arguments("metadata", metadata)},
        )
        text = other_text(guard, include_path, base.kind)
        check_limit(settings.max_kl, text is not None)
        name = edit_name(base.model_type, loaded.config.task, settings.preset)
        target = output or default_output(name)
        check_writable(target)
        # Drawn before the model is loaded, so that an error of the task comes first, and again with its chat template.
        chosen = examples(loaded, settings, prompting, metric, measured_on)
    path = log_path(target)
    with SearchLog(path, fresh=fresh, extend=extend) as log, going_on(path, lambda: log.has_steps):
        with progress.waiting(f"loading {printable(model)}"):
            lm = load_base(base, device=device, dtype=dtype, batch_size=together or BATCH_SIZE)
        if prompting.apply_chat_template:
            chosen = examples(loaded, settings, prompting.with_model(lm), metric, measured_on)
        chosen.say_untested(progress)
        result = run_search(
            lm,
            chosen.evaluations,
            settings,
            name=name,
            base_id=base.id,
            progress=progress,
            gradient_examples=chosen.gradients,
            test=chosen.test,
            evaluator="reference" if evaluator == "reference" else "replay",
            exact_stop=exact_stop,
            batch_rows=together,
            control=control,
            bbc_cv=chosen.untested is not None,
            guard=text,
            confirmation=chosen.confirmation,
            log=log,
            time_budget=seconds,
        )
        result.edit.write(target)
        details = search_details(result, chosen.evaluations)
        log.finish(FinishedSearch(result.edit, details).to_json())
    if report:
        page = edit_report(result.edit, details, commands(result.edit, str(target)))
        write_atomically(page_beside(target), page.encode())
    if as_json:
        print_json(SearchEnd.of(target, result))
        return
    print_report(result, chosen.evaluations, target)
    if report:
        print(f"wrote {page_beside(target)}")
    if result.edit.edits:
        for command in commands(result.edit, str(target))[-2:]:
            print(f"{command.purpose}:")
            for line in command.lines:
                print(f"  {line}")
