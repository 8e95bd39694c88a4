from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from cti_edits.artifact.asked import Asked, AskedTask
from cti_edits.artifact.manifest import Edit
from cti_edits.harness.lm import EditedLM
from cti_edits.paths import folder
from tests.conftest import Run
from tests.support.edits import SEARCH, edit_of
from tests.support.small_tasks import write_task
from tests.support.tiny_models import byte_tokenizer, save_checkpoint, tiny_model

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The warnings since the last call."""
    caplog.set_level(logging.WARNING, "cti_edits")

    def since() -> list[str]:
        found = [record.getMessage() for record in caplog.records if "the search asked" in record.getMessage()]
        caplog.clear()
        return found

    return since


def searched(base: Path, **prompt: Any) -> Edit:
    """An edit whose search recorded what a plain model is asked with, and ``prompt``."""
    asked = EditedLM(pretrained=str(base), device="cpu").asked()
    recorded = Asked(asked.model, replace(asked.prompt, **prompt), AskedTask(task="picks"))
    return replace(edit_of(tiny_model("llama"), base_id=str(base)), search=replace(SEARCH, asked=recorded))


def test_a_run_that_asks_as_the_search_did_gives_no_warning(llama: Path, lines: Lines) -> None:
    EditedLM(edit=searched(llama, num_fewshot=3, gen_kwargs="{}"), device="cpu", batch_size=4)
    EditedLM(edit=edit_of(tiny_model("llama"), base_id=str(llama)), device="cpu", max_length=7)
    assert lines() == []


def test_each_field_that_differs_is_a_line_with_both_values(llama: Path, tmp_path: Path, lines: Lines) -> None:
    other = save_checkpoint(tmp_path / "copy", "llama")
    EditedLM(
        edit=searched(llama), pretrained=str(other), device="cpu", max_length=9, add_bos_token=False, truncation=True,
        softmax_dtype="float32",
    )  # fmt: skip
    assert lines() == [
        f"test: pretrained: the search asked with {llama}, this run asks with {other}",
        'test: model_arguments: the search asked with none, this run asks with {"softmax_dtype":"float32"}',
        "test: add_bos_token: the search asked with none, this run asks with False",
        "test: max_length: the search asked with 512, this run asks with 9",
        "test: truncation: the search asked with False, this run asks with True",
    ]


def run(edit: Edit, tasks: Path, task: str, **more: Any) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(edit.base_model.id)
    simple_evaluate(
        model="cti",
        model_args={"edit": edit},
        tasks=[task],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        limit=2,
        device="cpu",
        bootstrap_iters=0,
        **more,
    )


def test_prompts_of_the_edit_s_own_task_show_the_chat_template(tmp_path: Path, lines: Lines) -> None:
    base = save_checkpoint(tmp_path / "base", "llama")
    write_task(tmp_path, "picks")
    write_task(tmp_path, "others")
    line = "test: apply_chat_template: the search asked with {}, this run asks with {}"
    run(searched(base), tmp_path, "picks", apply_chat_template=True)
    assert lines() == [line.format(False, True)]
    run(searched(base, apply_chat_template=True), tmp_path, "picks")
    assert lines() == [line.format(True, False)]
    run(searched(base, apply_chat_template=True), tmp_path, "picks", apply_chat_template=True)
    run(searched(base), tmp_path, "picks")
    run(searched(base), tmp_path, "others", apply_chat_template=True)
    assert lines() == []


def test_prompts_of_the_edit_s_own_task_lack_the_system_instruction(tmp_path: Path, lines: Lines) -> None:
    base = save_checkpoint(tmp_path / "base", "llama")
    write_task(tmp_path, "picks")
    edit = searched(base, system_instruction="Think twice. ")
    run(edit, tmp_path, "picks", system_instruction="Think once.")
    assert lines() == [
        "test: system_instruction: the search asked with Think twice., this run asks with another or none"
    ]
    run(edit, tmp_path, "picks", system_instruction="Think twice. ")
    assert lines() == []


def test_the_evaluator_s_part_is_told_before_it_asks(tmp_path: Path, lines: Lines) -> None:
    base = save_checkpoint(tmp_path / "base", "llama")
    path = tmp_path / f"{write_task(tmp_path, 'picks')}.yaml"
    path.write_text(path.read_text().replace("num_fewshot: 0\n", "", 1))
    edit = searched(base, num_fewshot=2, apply_chat_template=True, fewshot_as_multiturn=True)
    line = "test: {}: the search asked with {}, this run asks with {}"
    more: dict[str, Any] = {"apply_chat_template": True, "num_fewshot": 2}
    run(edit, tmp_path, "picks", **more, fewshot_as_multiturn=True)
    assert lines() == []
    run(edit, tmp_path, "picks", **more, fewshot_as_multiturn=False)
    assert lines() == [line.format("fewshot_as_multiturn", True, False)]
    run(edit, tmp_path, "picks", apply_chat_template=True, num_fewshot=1, fewshot_as_multiturn=True)
    assert lines() == [line.format("num_fewshot", 2, 1)]


def test_arguments_of_generation_are_told_before_they_are_used(tmp_path: Path, lines: Lines) -> None:
    base = save_checkpoint(tmp_path / "base", "llama")
    more = 'doc_to_target: "{{answer}}"\ngeneration_kwargs: {max_gen_toks: 2, until: []}\n'
    path = tmp_path / f"{write_task(tmp_path, 'picks', 'generate_until', more=more)}.yaml"
    path.write_text(path.read_text().replace("metric: acc", "metric: exact_match"))
    recorded = '{"max_gen_toks": 2, "until": []}'
    run(searched(base, gen_kwargs=recorded), tmp_path, "picks")
    assert lines() == []
    run(searched(base, gen_kwargs=recorded), tmp_path, "picks", gen_kwargs={"max_gen_toks": 1})
    changed = '{"max_gen_toks": 1, "until": []}'
    assert lines() == [f"test: gen_kwargs: the search asked with {recorded}, this run asks with {changed}"]


def test_the_command_shows_the_line_once(llama: Path, tmp_path: Path, run_command: Run) -> None:
    searched(llama).write(tmp_path / "edit.json")
    done = run_command(
        "lm_eval", "--model", "cti", "--model_args", "edit=edit.json,max_length=100", "--tasks", "cti_capitals",
        "--include_path", str(folder("tasks")), "--limit", "1", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "the search asked" in line]
    assert line.endswith("test: max_length: the search asked with 512, this run asks with 100")
