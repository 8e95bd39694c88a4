"""The manifest says what was asked, and on which rows: two searches asked differently never look the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.asked import Asked
from cti_edits.artifact.manifest import Edit, load
from cti_edits.harness.calibration import draw
from cti_edits.harness.prompting import Prompting
from cti_edits.harness.tasks import load_task
from cti_edits.search.examples import examples
from cti_edits.search.record import MAX_ROWS, edit_name
from cti_edits.search.runner import run_search
from cti_edits.search.settings import SearchSettings
from tests.conftest import Run
from tests.support.refusals import refused_line
from tests.support.small_searches import lm_of
from tests.support.small_tasks import write_task

SETTINGS = SearchSettings(samples=5, top_q=1, clusters=(1,), rates=(0.5,))
JSON_TASK = """
task: from_file
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{rows}"}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{text}}}} says"
doc_to_choice: ["moo", "woof"]
doc_to_target: gold
fewshot_split: test
metric_list: [{{metric: acc}}]
"""


def searched(task: Any, prompting: Prompting | None = None, **arguments: Any) -> Edit:
    calibration = draw(task, 5, 0, prompting)
    return run_search(lm_of("gptj", **arguments), calibration, SETTINGS, "tiny", "tiny").edit


def asked_by(edit: Edit) -> Asked:
    assert edit.search is not None
    assert edit.search.asked is not None
    return edit.search.asked


def from_file(folder: Path, rows: list[dict[str, Any]]) -> Any:
    path = folder / f"rows{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "from_file.yaml").write_text(JSON_TASK.format(rows=path))
    return load_task("from_file", str(folder))


ROWS = [{"text": f"animal {number}", "gold": number % 2} for number in range(30)]


def test_the_description_names_k_means_which_the_partition_does_not(tmp_path: Path) -> None:
    calibration = draw(from_file(tmp_path, ROWS), 5, 0)
    for partition, said in (("k-means", True), ("k-subspaces", False)):
        settings = dataclasses.replace(SETTINGS, clusters=(3,), partition=partition)
        edit = run_search(lm_of("gptj"), calibration, settings, "tiny", "tiny").edit
        assert edit.description is not None
        assert edit.description.endswith("; rows were assigned by k-means.") == said
        assert edit.search is not None
        assert edit.search.partition == partition


def test_a_composition_is_recorded_where_no_preset_says_it(tmp_path: Path) -> None:
    calibration = draw(from_file(tmp_path, ROWS), 5, 0)
    for preset, recorded in ((None, 2), ("laser-compose", None)):
        settings = dataclasses.replace(SETTINGS, compose=2, preset=preset)
        search = run_search(lm_of("gptj"), calibration, settings, "tiny", "tiny").edit.search
        assert search is not None
        assert (search.compose, search.partition) == (recorded, None)


def test_rows_that_changed_under_the_same_numbers(tmp_path: Path) -> None:
    first = searched(from_file(tmp_path, ROWS))
    second = searched(from_file(tmp_path, [{**row, "text": str(row["text"]).upper()} for row in ROWS]))
    again = searched(from_file(tmp_path, ROWS))
    assert first.search is not None
    assert second.search is not None
    assert first.search.sample_ids_sha256 == second.search.sample_ids_sha256
    assert asked_by(first).task.rows_sha256 != asked_by(second).task.rows_sha256
    assert first.search.row_hashes != second.search.row_hashes
    assert first.digest() != second.digest()
    assert first.digest() == again.digest()


@pytest.mark.parametrize(
    ("field", "prompting", "arguments"),
    [
        ("num_fewshot", Prompting(num_fewshot=1), {}),
        ("system_instruction", Prompting(system_instruction="Be brief."), {}),
        ("max_length", None, {"max_length": 48}),
        ("add_bos_token", None, {"add_bos_token": True}),
    ],
)
def test_searches_that_were_asked_differently(
    field: str, prompting: Prompting | None, arguments: dict[str, Any], tmp_path: Path
) -> None:
    task = from_file(tmp_path, ROWS)
    plain, other = searched(task), searched(task, prompting, **arguments)
    found = {one.field: one for one in asked_by(plain).differences(asked_by(other))}
    assert found[field].second is not None
    assert plain.digest() != other.digest()


def test_all_rows_that_the_search_saw_are_recorded(tmp_path: Path) -> None:
    """The gradients' rows and the evaluations', each once, ascending."""
    name = write_task(tmp_path, "two", more="validation_split: validation\n" + CHOICE)
    task = load_task(name, str(tmp_path))
    settings = SearchSettings(samples=4, top_q=1, clusters=(1,), rates=(0.5,), evaluated_on="validation")
    chosen = examples(task, settings)
    edit = run_search(
        lm_of("gptj"), chosen.evaluations, settings, "tiny", "tiny", gradient_examples=chosen.gradients
    ).edit
    assert edit.search is not None
    hashes = edit.search.row_hashes
    assert hashes is not None
    found = [hashes[start : start + 12] for start in range(0, len(hashes), 12)]
    assert found == sorted({digest[:12] for digest in chosen.evaluations.row_hashes})
    assert len(found) == 10
    assert {digest[:12] for digest in chosen.gradients.row_hashes} < set(found)
    assert MAX_ROWS * 12 <= 960_000


CHOICE = """doc_to_choice: ["moo", "woof"]
doc_to_target: gold
"""


def test_the_command_asks_as_it_is_told(run_command: Run, llama: Path, tmp_path: Path) -> None:
    name = write_task(tmp_path, "shots", more="validation_split: validation\nfewshot_split: test\n" + CHOICE)
    path = tmp_path / f"{name}.yaml"
    path.write_text(path.read_text().replace("num_fewshot: 0\n", "", 1))
    words = ["cti-edits", "search", "--task", name, "--include-path", str(tmp_path), "--model", str(llama)]
    words += ["--samples", "4", "--top-q", "1", "--clusters", "1", "--rates", "0.5", "--device", "cpu"]
    asking = ["--num_fewshot", "1", "--system-instruction", "Be brief.", "--metric", "acc", "--batch-size", "2"]
    done = run_command(*words, *asking, "--model_args", '{"max_length": 60}', "--output", str(tmp_path / "a.json"))
    assert done.returncode == 0, done.stderr
    edit = load(tmp_path / "a.json")
    asked = asked_by(edit)
    assert asked.prompt.num_fewshot == 1
    assert asked.prompt.system_instruction == "Be brief."
    assert asked.prompt.max_length == 60
    assert asked.prompt.fewshot_seed == 1234
    assert asked.task.task == name
    assert asked.model.pretrained == str(llama)
    assert edit.provenance.batch_tokens == 512
    # Nothing of where and how fast it ran.
    assert "device" not in json.dumps(edit.to_json()["search"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--apply-chat-template"], "--apply-chat-template: the model's tokenizer has no chat template"),
        (["--fewshot_as_multiturn"], "--fewshot-as-multiturn: only together with apply_chat_template"),
        (["--metric", "f2"], "there is no 'f2'; this task has acc"),
        (["--gen-kwargs", "{"], "--gen-kwargs: expected a JSON object"),
        (["--batch-size", "many"], "--batch-size: expected 1 or more, or auto, got 'many'"),
        (["--num-fewshot", "10"], "--num-fewshot: expected at most 9, the rows to draw from, got 10"),
    ],
)
def test_the_command_says_what_cannot_be_asked(
    more: list[str],
    message: str,
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = write_task(tmp_path, "shots", more="validation_split: validation\n" + CHOICE)
    path = tmp_path / f"{name}.yaml"
    path.write_text(path.read_text().replace("num_fewshot: 0\n", "", 1))
    words = ["search", "--task", name, "--include-path", str(tmp_path), "--model", str(llama), "--samples", "4"]
    line = refused_line([*words, *more, "--output", str(tmp_path / "b.json")], monkeypatch, capsys)
    assert message in line
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("task", "preset", "expected"),
    [
        ("cti_fever", None, "gptj_fever"),
        ("cti_fever", "sigma-step", "gptj_fever"),
        ("cti_fever", "cl-100g-100e", "gptj_fever.cl-100g-100e"),
        ("cti_fever_masked", "laser", "gptj_fever.laser"),
        ("a/b: c", None, "gptj_a-b--c"),
        (120 * "t", None, "gptj_" + 95 * "t"),
    ],
)
def test_an_edit_is_named_as_the_published_ones(task: str, preset: str | None, expected: str) -> None:
    assert edit_name("gptj", task, preset) == expected
