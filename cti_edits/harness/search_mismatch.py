"""Warnings where the settings of a run with an edit differ from those of the search that found it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping

from cti_edits.artifact.asked import Asked, Difference
from cti_edits.artifact.manifest import Edit
from cti_edits.errors import printable
from cti_edits.harness.task import Task

logger = logging.getLogger("cti_edits")

MODEL_SIDE = (
    "pretrained", "revision", "subfolder", "gguf_file", "weights_sha256", "dtype", "quantization", "peft", "delta",
    "tokenizer", "model_arguments", "add_bos_token", "prefix_token_id", "max_length", "truncation",
)  # fmt: skip
"""Fields of `Asked` that are settings of the model. The others are settings of lm-eval's evaluator."""


def warn_of_model(edit: Edit, asked: Asked) -> None:
    """Warn of each setting of the model that differs from the search's.

    Args:
        edit: that the model has. If its search recorded nothing, there is no warning.
        asked: the model's settings.
    """
    searched = asked_by_search(edit)
    if searched is not None:
        _warn(edit, (one for one in searched.differences(asked) if one.field in MODEL_SIDE))


def warn_of_prompts(edit: Edit, task_names: Iterable[str], contexts: Iterable[str], templated: bool) -> bool:
    """Warn of a chat template or a system instruction that prompts of the edit's task show to differ from the search's.

    Prompts do not show reliably how many examples are in them, or an instruction that the search did not have.

    Args:
        edit: that the model has.
        task_names: of each request.
        contexts: of each request, as the model gets it.
        templated: whether lm-eval asked for the chat template.

    Returns:
        Whether there were requests of that task.
    """
    searched = asked_by_search(edit)
    if searched is None:
        return False
    own = [context for name, context in zip(task_names, contexts, strict=True) if name == searched.task.task]
    if not own:
        return False
    found = []
    # The record leaves it out where it is off.
    if bool(searched.prompt.apply_chat_template) != templated:
        found.append(Difference("apply_chat_template", not templated, templated))
    # A template strips the blanks around it.
    instruction = (searched.prompt.system_instruction or "").strip()
    if instruction and not any(instruction in context for context in own):
        found.append(Difference("system_instruction", instruction, "another or none"))
    _warn(edit, found)
    return True


def warn_of_evaluation(edit: Edit, tasks: Mapping[str, Task], as_multiturn: bool) -> None:
    """Warn of settings of an evaluation of the edit's task that differ from the search's.

    These are the number of few-shot examples, whether they are turns, and arguments of generation.

    Args:
        edit: that the model has.
        tasks: lm-eval's, by name, configured for the run.
        as_multiturn: whether few-shot examples are turns.
    """
    searched = asked_by_search(edit)
    task = tasks.get(str(searched.task.task)) if searched else None
    if searched is None or task is None:
        return
    shots = int(task.config.num_fewshot or 0)
    found = []
    if searched.prompt.num_fewshot is not None and searched.prompt.num_fewshot != shots:
        found.append(Difference("num_fewshot", searched.prompt.num_fewshot, shots))
    # The record has it only where there are both few-shot examples and a template.
    if searched.prompt.fewshot_as_multiturn is not None and searched.prompt.fewshot_as_multiturn != as_multiturn:
        found.append(Difference("fewshot_as_multiturn", searched.prompt.fewshot_as_multiturn, as_multiturn))
    if searched.prompt.gen_kwargs is not None and task.OUTPUT_TYPE == "generate_until":
        arguments = json.dumps(task.config.generation_kwargs, sort_keys=True)
        if arguments != searched.prompt.gen_kwargs:
            found.append(Difference("gen_kwargs", searched.prompt.gen_kwargs, arguments))
    _warn(edit, found)


def asked_by_search(edit: Edit) -> Asked | None:
    """The settings that the edit's search recorded; None where it recorded none."""
    asked = None if edit.search is None else edit.search.asked
    return None if asked == Asked() else asked


def _warn(edit: Edit, differences: Iterable[Difference]) -> None:
    for one in differences:
        first, second = (printable("none" if value is None else value) for value in (one.first, one.second))
        logger.warning("%s: %s: the search asked with %s, this run asks with %s", edit.name, one.field, first, second)
