"""``cti-edits search``."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cti_edits.errors import EditError, printable

if TYPE_CHECKING:
    from cti_edits.calibration import CalibrationSet
    from cti_edits.search.presets import Kind
    from cti_edits.search.runner import SearchResult
    from cti_edits.search.space import SearchSettings

Option = typer.Option


def search(
    task: Annotated[str, Option(help="lm-eval task; fever is short for cti_fever.", show_default=False)],
    model: Annotated[str, Option(help="Hub id or checkpoint folder of the base model.", show_default=False)],
    model_args: Annotated[str, Option(help="More arguments for lm-eval's hf model, key=value,key=value.")] = "",
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
        Option(help="Shares of the rank ρ that are tried.", show_default="0.9,0.8,0.6,0.4,0.2,0.1,0.05,0.01,0.005"),
    ] = None,
    matrices: Annotated[str | None, Option(help="Matrices that are tried.", show_default="U_in,U_out")] = None,
    seed: Annotated[int, Option(help="Seed of the draw.")] = 0,
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:0, mps.", show_default="cuda if there is one")] = None,
    dtype: Annotated[str, Option(help="float32, bfloat16, float16 or auto, the checkpoint's.")] = "auto",
    batch_size: Annotated[int, Option(help="Examples in one pass.")] = 16,
    final: Annotated[bool, Option("--final", help="Measure the edit that is found once, on the test part.")] = False,
    final_limit: Annotated[
        int | None, Option(help="With --final: on the first so many test rows only.", show_default="all")
    ] = None,
    include_path: Annotated[str | None, Option(help="Folder with more lm-eval tasks.", show_default=False)] = None,
    output: Annotated[Path | None, Option(help="Where the edit goes.", show_default="edits/MODEL_TASK.json")] = None,
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
        overrides["clusters"] = _numbers("clusters", clusters, int)
    if rates is not None:
        overrides["rates"] = _numbers("rates", rates, float)
    if matrices is not None:
        overrides["matrices"] = tuple(part.strip() for part in matrices.split(",") if part.strip())
    # A preset's top q and K depend on the kind of model, which is known when the model is loaded; what is wrong with
    # the options is said before that.
    settings = _settings(preset, "causal", overrides)
    if final_limit is not None and not final:
        raise EditError("--final-limit: only together with --final")
    if batch_size < 1:
        raise EditError(f"--batch-size: expected 1 or more, got {batch_size}")
    base_id = str(Path(model).resolve()) if Path(model).is_dir() else model
    short = task.removeprefix("cti_")
    target = output or Path("edits") / f"{_file_name(Path(base_id).name)}_{_file_name(short)}.json"
    if target.is_dir():
        raise EditError(f"--output: {printable(target)} is a folder; name a file")

    warnings.filterwarnings("ignore")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from cti_edits.apply import model_family
    from cti_edits.calibration import final_part, load_task
    from cti_edits.cli.progress import TerminalProgress
    from cti_edits.lm import load_base
    from cti_edits.search.examples import examples
    from cti_edits.search.runner import run_search

    loaded = load_task(task, include_path)
    chosen = examples(loaded, settings)
    calibration = chosen.evaluations
    test = final_part(loaded, final_limit) if final else None
    lm = load_base(base_id, model_args, device=device, dtype=dtype, batch_size=batch_size)
    result = run_search(
        lm,
        calibration,
        _settings(preset, model_family(lm.model).kind, overrides),
        name=_file_name(target.stem),
        base_id=base_id,
        batch_size=batch_size,
        progress=TerminalProgress(),
        gradient_examples=chosen.gradients,
        test=test,
    )
    result.edit.write(target)
    _report(result, calibration, target)


def _settings(preset: str | None, kind: Kind, overrides: Mapping[str, object]) -> SearchSettings:
    """What the options ask for: the preset, or else the defaults, with the options that were given."""
    from cti_edits.search.presets import find_preset, with_overrides
    from cti_edits.search.space import SearchSettings

    base = SearchSettings() if preset is None else find_preset(preset).settings(kind)
    return with_overrides(base, overrides)


def _numbers(option: str, text: str, kind: type[Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise EditError(f"--{option}: expected {wanted} joined by commas, got {printable(text)!r}") from None


def _file_name(text: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip("._-")
    return kept[:100] or "edit"


def _report(result: SearchResult, calibration: CalibrationSet, target: Path) -> None:
    """The best candidates beside the unedited model, and the path written."""
    from rich.console import Console
    from rich.table import Table

    from cti_edits.cli.show import laid_out, measurement_lines
    from cti_edits.search.space import Outcome
    from cti_edits.stats import wilson_interval

    n = len(calibration.doc_ids)
    table = Table(title=f"{calibration.name}: {n} calibration examples", title_justify="left")
    for column in ("matrix", "layer", "K", "ρ", "accuracy", "95 % interval", "NLL of gold answer"):
        table.add_column(column, justify="left" if column == "matrix" else "right", no_wrap=True)

    def row(outcome: Outcome) -> None:
        low, high = wilson_interval(sum(outcome.correct), n)
        c = outcome.candidate
        cells = (
            ("unedited", "", "", "")
            if c is None
            else (c.target.matrix, str(c.target.layer), str(c.clusters), f"{c.rho:g}")
        )
        mark = "bold" if outcome is result.best else None
        table.add_row(
            *cells,
            f"{100 * outcome.accuracy:.1f} %",
            f"{100 * low:.1f}–{100 * high:.1f} %",
            f"{outcome.nll:.4f}",
            style=mark,
        )

    row(result.unedited)
    table.add_section()
    for outcome in sorted(result.outcomes, key=Outcome.order)[:5]:
        row(outcome)
    console = Console()
    console.print(table)
    test = result.edit.results["test"]
    console.print(
        f"{len(result.outcomes)} candidates tried. Always giving the most frequent answer: "
        f"{100 * calibration.majority_class:.1f} %. The best of many on the examples that chose it looks better than "
        + ("it is." if test else "it is: measure it on the test part (--final)."),
        highlight=False,
        soft_wrap=True,
    )
    if result.best.candidate is None:
        console.print("No candidate beat the unedited model: the edit is empty.", soft_wrap=True)
    if test:
        for key, value in measurement_lines("test part", test):
            print(laid_out(key, str(value), None))
    if not calibration.own_validation:
        console.print(
            f"{calibration.name} has no validation rows apart from its test rows: the examples are from the first "
            "20 % of those. " + ("Its test part is the rest." if test else "Leave them out when you measure the edit."),
            highlight=False,
            soft_wrap=True,
        )
    print(f"wrote {target}")
