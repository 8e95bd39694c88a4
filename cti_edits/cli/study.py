"""``cti-edits study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cti_edits.cli import completion, options
from cti_edits.cli import search_options as of
from cti_edits.cli.going_on import going_on
from cti_edits.cli.quiet import quiet
from cti_edits.cli.search_settings import given_settings
from cti_edits.studies.catalogue import NAMES, find_study

"""The exit code of a command that was interrupted."""


def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}.")],
    task: Annotated[
        str, typer.Option(help="lm-eval task; fever is short for cti_fever.", autocompletion=completion.tasks)
    ],
    model: of.Model = "EleutherAI/gpt-j-6b",
    model_args: of.ModelArgs = "",
    samples: Annotated[
        int | None,
        typer.Option(help="Examples drawn; for samples, at most so many.", show_default="100; for samples, 500"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first draw.")] = 0,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many draws, each with the next seed.", show_default="1; for samples, 5"),
    ] = None,
    test_rows: Annotated[
        int | None,
        typer.Option(help="Held-out rows, at most, that winners are measured on.", show_default="1000"),
    ] = None,
    top_q: Annotated[
        int | None, typer.Option(help="Matrices that a search keeps for each K.", show_default="5")
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(help="Numbers of row blocks K.", show_default="1; for clusters, 1,2,4,8,16; for partition, 4"),
    ] = None,
    rates: of.Rates = None,
    matrices: Annotated[
        str | None, typer.Option(help="Matrices that are tried.", show_default="U_in,U_out; for matrices, all")
    ] = None,
    device: of.Device = None,
    dtype: of.Dtype = "auto",
    include_path: of.IncludePath = None,
    output: Annotated[Path, typer.Option(help="Folder of NAME.jsonl and NAME.svg.")] = Path("out/studies"),
) -> None:
    """Answer one of the questions that the paper leaves open, on MODEL and TASK: a table, a file and a picture.

    Each figure goes to the file as soon as it is measured; the same command goes on where it stopped.
    """
    quiet()
    chosen = find_study(name)
    values: dict[str, str | int | None] = {"seed": seed, "samples": samples, "top_q": top_q, "clusters": clusters}
    values |= {"rates": rates, "matrices": matrices, "seeds": seeds, "test_rows": test_rows}
    given = given_settings(values)
    arguments = options.arguments("model_args", model_args)

    from cti_edits.cli.progress import TerminalProgress
    from cti_edits.harness.lm import check_matrices, load_base, read_base
    from cti_edits.harness.reference_evaluator import BATCH_SIZE
    from cti_edits.harness.tasks import load_task
    from cti_edits.models.architectures import family_of
    from cti_edits.replay.session import Session
    from cti_edits.report.listing import print_columns
    from cti_edits.studies.context import StudyContext
    from cti_edits.studies.runner import measured, picture_of, question_of
    from cti_edits.studies.study_file import StudyFile

    base = read_base(model, arguments)
    loaded = load_task(task, include_path, base.kind)
    roles = tuple(family_of(base.model_type).matrices)
    question = question_of(chosen, str(loaded.config.task), base.id, roles, given, model_args=model_args, dtype=dtype)
    check_matrices(base.model_type, question.matrices)
    file = StudyFile(output / f"{name}.jsonl", question, chosen.records)
    progress = TerminalProgress()
    lm = load_base(base, device=device, dtype=dtype, batch_size=BATCH_SIZE)
    with going_on(file.path), Session(lm, progress=progress) as session:
        records = measured(chosen, StudyContext(question, session, loaded, progress), file, progress)
    picture = output / f"{name}.svg"
    table = picture_of(chosen, question, records, picture)
    print_columns(table.headings, table.rows, table.right)
    for note in table.notes:
        print(note)
    print(f"wrote {file.path}")
    print(f"wrote {picture}")
