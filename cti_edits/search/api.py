"""A search from Python, on a model that is loaded already and on rows of one's own."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_edits.errors import EditError, printable
from cti_edits.harness.lm import EditedLM, check_matrices
from cti_edits.harness.other_text import other_text
from cti_edits.harness.own_rows import OwnRows, own_rows, read_own_rows
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.quiet import quiet_lm_eval
from cti_edits.models.architectures import Kind
from cti_edits.progress import Bars, Progress, Silent
from cti_edits.replay.session import EvaluatorName
from cti_edits.search.examples import examples, searched_task
from cti_edits.search.presets import chosen_settings
from cti_edits.search.record import edit_name
from cti_edits.search.runner import SearchResult, run_search
from cti_edits.search.settings import HeldOut, SearchSettings, check_task_or_rows, metric_and_selector

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Rows = Sequence[Mapping[str, Any]] | str | Path
"""Rows in memory, or a JSON Lines file of them."""


def search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    rows: Rows | None = None,
    test_rows: Rows | None = None,
    task: str | None = None,
    include_path: str | None = None,
    preset: str | None = None,
    metric: str | None = None,
    prompting: Prompting | None = None,
    name: str | None = None,
    base_model: str | None = None,
    held_out: HeldOut = None,
    control: bool = True,
    guard: str | Path | None = None,
    evaluator: EvaluatorName = "replay",
    exact_stop: bool = True,
    batch_size: int | None = None,
    progress: bool | Progress = True,
    **settings: Any,
) -> SearchResult:
    """Search an edit that makes ``model`` better at some rows.

    >>> result = cti_edits.search(model, tokenizer, rows=rows, samples=50)               # doctest: +SKIP
    >>> result.edit.write("edits/mine.json")                                             # doctest: +SKIP

    Args:
        model: a loaded language model of transformers, causal or masked. It has its own weights when this returns or
            raises.
        tokenizer: its tokenizer; loaded from where the model is from if None.
        rows: ``{"prompt", "answer"}`` each, or ``{"prompt", "choices", "gold"}`` with the index of the right choice; a
            list, or a JSON Lines file. `SearchSettings.samples` of them are drawn, all if there are fewer.
        test_rows: more of them, to measure the edit on; the rows that were not drawn if None.
        task: an lm-eval task in the place of ``rows``; "fever" is short for "cti_fever".
        include_path: a folder with more lm-eval tasks.
        preset: one of the paper's systems, see `presets.PRESETS`, "sigma-step", "sigma-fit", or a plugin's.
        metric: of ``task``, one that is 0 or 1 for each example; acc if None, else the first such. Or "nll" or
            "balanced", which are selectors.
        prompting: few-shot examples, chat template and system instruction; none if None.
        name: the edit's; made of the model's type and the task's name if None.
        base_model: the base model's hub id for the manifest; where ``model`` is from if None.
        held_out: on how many rows that the search did not see the edit is measured, beside the model without it: a
            number, "all" or "none"; None: 1,000, or as many as there are.
        control: measure on those rows, too, random edits as large as the one that is found, and for a task with fixed
            labels the correction of their likelihoods that needs no edit.
        guard: text on which the edited model is compared with the unedited one, that has nothing to do with the rows: a
            file, a task, or "none"; the bundled one if None.
        evaluator: "replay", or "reference" to edit the model and ask lm-eval for every candidate.
        exact_stop: stop a candidate that provably cannot win any more.
        batch_size: rows of 256 tokens in one pass; by the kind of device if None.
        progress: whether to draw progress bars, on a terminal or in a notebook; or what is told instead.
        settings: of `SearchSettings`, in the place of the preset's: ``top_q``, ``clusters``, ``rates``, ``matrices``,
            ``stack``, ``samples``, ``seed``, ``directions``, ``drops``, ``epochs``, ``compose``, ``max_kl``,
            ``confirm``, and by their names ``method``, ``scorer``, ``selector``, ``partition``.

    Returns:
        The result; its ``edit`` is what to write, apply or share.

    Raises:
        EditError: an argument is wrong, a row is broken (the message names it and the field), the model is of an
            unknown kind, or a loss, weight or score is not finite.
    """
    check_task_or_rows(task, rows)
    if test_rows is not None and rows is None:
        raise EditError("test_rows: only together with rows")
    if held_out not in (None, "all", "none") and not (isinstance(held_out, int) and held_out >= 1):
        raise EditError(f"held_out: expected a number from 1, all or none, got {printable(repr(held_out))}")
    metric, selector = metric_and_selector(metric, settings.get("selector"))
    was_training = model.training
    try:
        with quiet_lm_eval():
            lm = EditedLM.for_checkpoint(
                pretrained=model, tokenizer=copy.deepcopy(tokenizer or _tokenizer(model)), device=str(model.device)
            )
            of_search = _settings(preset, lm.kind, settings if selector is None else {**settings, "selector": selector})
            model_type = str(model.config.model_type)
            check_matrices(model_type, of_search.matrices, of_search.stack)
            prompting = (prompting or Prompting()).with_model(lm)
            loaded, of_search = searched_task(
                str(task) if rows is None else _own(rows, "rows"),
                of_search,
                test_rows=None if test_rows is None else _own(test_rows, "test_rows"),
                held_out=held_out,
                include_path=include_path,
                kind=lm.kind,
            )
            chosen = examples(loaded, of_search, prompting, metric, held_out)
            told = (Bars() if progress else Silent()) if isinstance(progress, bool) else progress
            chosen.say_untested(told)
            text = other_text(None if guard is None else str(guard), include_path, lm.kind)
            return run_search(
                lm,
                chosen.evaluations,
                of_search,
                name=name or edit_name(model_type, loaded.config.task, of_search.preset),
                base_id=base_model or model.config._name_or_path or type(model).__name__,
                progress=told,
                gradient_examples=chosen.gradients,
                test=chosen.test,
                evaluator=evaluator,
                exact_stop=exact_stop,
                batch_rows=batch_size,
                control=control,
                bbc_cv=chosen.untested is not None,
                guard=text,
                confirmation=chosen.confirmation,
            )
    finally:
        model.train(was_training)


def _settings(preset: str | None, kind: Kind, overrides: Mapping[str, Any]) -> SearchSettings:
    known = {field.name for field in dataclasses.fields(SearchSettings)} - {"preset"}
    if unknown := sorted(set(overrides) - known):
        raise EditError(f"{printable(unknown[0])}: no such setting; expected one of {', '.join(sorted(known))}")
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in overrides.items()}
    return chosen_settings(preset, kind, lists)


def _own(rows: Rows, name: str) -> OwnRows:
    """Rows in memory or in a file, checked."""
    return read_own_rows(Path(rows)) if isinstance(rows, str | Path) else own_rows(rows, name)


def _tokenizer(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    place = model.config._name_or_path
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, TypeError):
        raise EditError(
            f"tokenizer: expected the model's tokenizer; there is none in {printable(place) or 'memory'}"
        ) from None
