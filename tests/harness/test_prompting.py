"""A search asks as plain lm-eval asks: the same prompts of the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from cti_edits.errors import EditError
from cti_edits.harness.calibration import CalibrationSet, draw, final_part
from cti_edits.harness.documents import Documents
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.reference_evaluator import ReferenceEvaluator
from cti_edits.harness.tasks import load_task
from cti_edits.replay.replay_evaluator import ReplayEvaluator
from tests.support.small_searches import lm_of
from tests.support.small_tasks import write_task
from tests.support.tiny_models import byte_tokenizer, tiny_model

CHAT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[bot]{% endif %}"
)
CHOICE = """fewshot_split: shots
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""
WRITTEN = """fewshot_split: shots
doc_to_target: "{{answer}}"
generation_kwargs: {max_gen_toks: 2, until: ["z"]}
"""
WAYS = {
    "plain": Prompting(),
    "examples": Prompting(num_fewshot=2),
    "another seed": Prompting(num_fewshot=2, fewshot_seed=7),
    "system instruction": Prompting(system_instruction="Be brief."),
    "chat": Prompting(apply_chat_template=True),
    "turns": Prompting(num_fewshot=2, apply_chat_template=True, system_instruction="Be brief."),
    "one turn": Prompting(num_fewshot=2, apply_chat_template=True, fewshot_as_multiturn=False),
}


def folder_with_task(folder: Path, output_type: str) -> str:
    """A task with rows to test on and rows for examples, and whose file leaves their number open."""
    more = CHOICE if output_type == "multiple_choice" else WRITTEN
    name = write_task(folder, "shots", output_type, more=more)
    text = (folder / f"{name}.yaml").read_text().replace("num_fewshot: 0\n", "", 1)
    if output_type == "generate_until":
        text = text.replace("metric: acc", "metric: exact_match")
    parts = "custom_dataset: !function shots_rows.rows\ndataset_kwargs: {parts: [test, shots]}"
    (folder / f"{name}.yaml").write_text(text.replace("custom_dataset: !function shots_rows.rows", parts))
    return name


def model() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT
    return lm_of("gptj", tiny_model("gptj"), tokenizer=tokenizer)


def asked_by_lm_eval(folder: Path, name: str, way: Prompting, rows: list[int]) -> list[dict[str, Any]]:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT
    results = lm_eval.simple_evaluate(
        HFLM(pretrained=tiny_model("gptj"), tokenizer=tokenizer, device="cpu", batch_size=4),
        tasks=[name],
        samples={name: rows},
        bootstrap_iters=0,
        num_fewshot=way.num_fewshot,
        apply_chat_template=way.apply_chat_template,
        system_instruction=way.system_instruction,
        fewshot_as_multiturn=way.as_multiturn,
        fewshot_random_seed=way.fewshot_seed,
        gen_kwargs=dict(way.gen_kwargs) or None,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )
    assert results is not None
    samples: list[dict[str, Any]] = results["samples"][name]
    return samples


@pytest.mark.parametrize("output_type", ["multiple_choice", "generate_until"])
@pytest.mark.parametrize("way", WAYS)
def test_the_same_prompts_as_plain_lm_eval(way: str, output_type: str, tmp_path: Path) -> None:
    name, lm = folder_with_task(tmp_path, output_type), model()
    calibration = draw(load_task(name, str(tmp_path)), 2, 0, WAYS[way].with_model(lm))
    theirs = asked_by_lm_eval(tmp_path, name, WAYS[way], list(calibration.doc_ids))
    ours = Documents(calibration)
    assert [[i.args for i in group] for group in ours.instances] == [
        [tuple(arguments) for arguments in sample["arguments"]] for sample in theirs
    ]
    # The evaluators ask no other way than the gold answers do.
    assert [gold.context for gold in calibration.gold] == [sample["arguments"][0][0] for sample in theirs]
    assert list(calibration.row_hashes) == [sample["doc_hash"] for sample in theirs]
    assert list(calibration.prompt_hashes) == [sample["prompt_hash"] for sample in theirs]


@pytest.mark.parametrize("output_type", ["multiple_choice", "generate_until"])
def test_both_evaluators_ask_alike(output_type: str, tmp_path: Path) -> None:
    name, lm = folder_with_task(tmp_path, output_type), model()
    way = Prompting(
        num_fewshot=1, apply_chat_template=True, system_instruction="Be brief.", gen_kwargs={"until": ["a"]}
    )
    calibration = draw(load_task(name, str(tmp_path)), 2, 0, way.with_model(lm))
    theirs = ReferenceEvaluator(lm, calibration).evaluate()
    ours = ReplayEvaluator(lm, calibration).evaluate()
    assert ours is not None
    assert ours.correct == theirs.correct
    assert ours.nll == pytest.approx(theirs.nll, rel=2e-5)
    plain = ReferenceEvaluator(lm, draw(load_task(name, str(tmp_path)), 2, 0)).evaluate()
    assert plain.nll != theirs.nll


def test_arguments_of_generation_take_the_place_of_the_tasks(tmp_path: Path) -> None:
    name = folder_with_task(tmp_path, "generate_until")
    task = load_task(name, str(tmp_path))
    way = Prompting(gen_kwargs={"max_gen_toks": 5})

    def arguments(calibration: CalibrationSet) -> dict[str, Any]:
        found: dict[str, Any] = Documents(calibration).instances[0][0].args[1]
        return found

    assert arguments(draw(task, 2, 0, way)) == {"max_gen_toks": 5, "until": ["z"]}
    assert arguments(final_part(task, 2, way)) == {"max_gen_toks": 5, "until": ["z"]}
    # The task itself is as it was.
    assert arguments(draw(task, 2, 0)) == {"max_gen_toks": 2, "until": ["z"]}


def test_a_task_whose_file_says_none_keeps_none(tmp_path: Path) -> None:
    """As in lm-eval: num_fewshot: 0 is never overwritten."""
    task = load_task(write_task(tmp_path, "none", more=CHOICE.replace("shots", "test")), str(tmp_path))
    assert draw(task, 2, 0, Prompting(num_fewshot=3)).gold == draw(task, 2, 0).gold


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="num_fewshot: expected 0 or more, got -1"):
        Prompting(num_fewshot=-1)
    with pytest.raises(EditError, match="fewshot_as_multiturn: only together with apply_chat_template"):
        Prompting(fewshot_as_multiturn=True)
    with pytest.raises(EditError, match="apply_chat_template: the model's tokenizer has no chat template"):
        Prompting(apply_chat_template=True).with_model(lm_of("gptj"))
