"""The commands that a page shows: the search that found an edit, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from cti_edits.artifact.asked import AskedPrompt
from cti_edits.artifact.manifest import Edit
from cti_edits.artifact.records import SearchRecord
from cti_edits.errors import EditError, printable
from cti_edits.harness.other_text import BUNDLED
from cti_edits.report.compute import kind_of
from cti_edits.report.edit_report import Command
from cti_edits.report.how_to_use import is_bundled
from cti_edits.search.presets import chosen_settings
from cti_edits.search.settings import SearchSettings

WIDTH = 76
"""Characters of a line of a command; a longer command has several, each of which begins with a flag."""


def commands(edit: Edit, file: str) -> tuple[Command, ...]:
    """What a person types to find an edit again, to check it, and to use it.

    Args:
        edit: the edit.
        file: what a person writes for it.
    """
    found = []
    if edit.search is not None and edit.task is not None:
        found.append(Command("Find it again", _lines(_quoted(_search_words(edit, edit.search)))))
    task = edit.task.name if edit.task else "TASK"
    use = _quoted(["lm_eval", "--model", "cti", "--model_args", f"edit={file}", "--tasks", task])
    if is_bundled(task):
        use += ["--include_path", '"$(cti-edits tasks-path)"']
    found.append(Command("Check that it fits your base model", _lines(_quoted(["cti-edits", "verify", file]))))
    found.append(Command("Use it", _lines(use)))
    return tuple(found)


def _search_words(edit: Edit, search: SearchRecord) -> Iterator[str]:
    """The words of the command. What the preset says anyway is left out."""
    yield from ("cti-edits", "search", "--task", edit.task.name if edit.task else "", "--model", edit.base_model.id)
    if edit.base_model.revision:
        yield from ("--model-args", f"revision={edit.base_model.revision}")
    if edit.base_model.dtype:
        yield from ("--dtype", edit.base_model.dtype)
    if search.preset:
        yield from ("--preset", search.preset)
    preset = _settings(search.preset, edit)
    asked: dict[str, tuple[object, object]] = {
        "--samples": (search.samples, preset and preset.samples),
        "--top-q": (search.top_q, preset and preset.top_q),
        "--clusters": (search.clusters, preset and preset.clusters),
        "--rates": (search.rates or None, preset and (preset.rates if search.rates else None)),
        "--stack": (search.stack, None),
        "--matrices": (search.matrices, preset and preset.matrices),
        "--scorer": (search.scorer, preset and (preset.scorer if search.scorer else None)),
        "--selector": (search.selector, preset and (preset.selector if search.selector else None)),
        "--method": (search.method, preset and (preset.method if search.method else None)),
        "--directions": (search.directions, preset and preset.directions),
        "--drops": (search.drops, preset and preset.drops),
        "--epochs": (search.epochs, preset and preset.epochs),
        "--confirm": (search.confirm, preset and preset.confirm),
        "--max-kl": (search.max_kl, preset and preset.max_kl),
    }
    for flag, (value, usual) in asked.items():
        if value is not None and value != usual:
            yield from (flag, _text(value))
    yield from ("--seed", str(search.seed))
    if edit.results.calibration is not None and edit.results.test is None:
        yield from ("--test-rows", "none")
    if edit.results.guard is not None and edit.results.guard.text != BUNDLED:
        yield from ("--guard", _guard_word(edit.results.guard.text))
    if edit.task and edit.task.metric != "acc":
        yield from ("--metric", edit.task.metric)
    if search.asked is not None:
        yield from _prompt_words(search.asked.prompt)


def _prompt_words(prompt: AskedPrompt) -> Iterator[str]:
    if prompt.num_fewshot:
        yield from ("--num-fewshot", str(prompt.num_fewshot))
    if prompt.apply_chat_template:
        yield "--apply-chat-template"
        if prompt.chat_template:
            yield prompt.chat_template
    if prompt.system_instruction:
        yield from ("--system-instruction", prompt.system_instruction)
    if prompt.gen_kwargs:
        yield from ("--gen-kwargs", prompt.gen_kwargs)


def _guard_word(text: str) -> str:
    """The task that is named, or the file, in whatever folder that is."""
    return text.removeprefix("task ").split(", sha256 ")[0]


def _settings(preset: str | None, edit: Edit) -> SearchSettings | None:
    """What the preset of a search says; None where it has none, or one that is not here."""
    if preset is None:
        return None
    try:
        return chosen_settings(preset, kind_of(edit), {})
    except EditError:
        return None


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_text(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(words: Iterable[str]) -> list[str]:
    """Words for a shell. Anyone may have written them."""
    return [shlex.quote(printable(word, 1000)) for word in words]


def _lines(words: Sequence[str]) -> tuple[str, ...]:
    """One command, on several lines where it is long."""
    lines = [words[0]]
    for word in words[1:]:
        starts = word.startswith("--") and len(lines[-1]) + len(word) > WIDTH // 2
        if starts and len(" ".join(words)) > WIDTH:
            lines[-1] += " \\"
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return tuple(lines)
