from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError
from cti_edits.harness.lm import EditedLM
from cti_edits.harness.row_hashes import doc_hash
from tests.conftest import Run
from tests.support.edits import SEARCH, edit_of
from tests.support.small_tasks import write_task
from tests.support.tiny_models import tiny_model

TASK = "small"
SEARCHED = (1, 4, 5)
FEW_SHOTS = """doc_to_choice: ["moo", "woof"]
doc_to_target: gold
num_fewshot: 2
fewshot_split: validation
validation_split: validation
"""


def task_manager(tasks: Path) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(tasks), include_defaults=False)


def run(tasks: Path, model: str | EditedLM = "cti", names: list[str] | None = None, **options: Any) -> Any:
    """Plain lm-eval; the model's arguments are those that it knows."""
    from lm_eval import simple_evaluate

    known = {"limit", "samples", "use_cache", "cache_requests", "num_fewshot"}
    arguments = {key: value for key, value in options.items() if key not in known}
    return simple_evaluate(
        model=model,
        model_args=arguments or None,
        tasks=names or [TASK],
        task_manager=task_manager(tasks),
        device="cpu",
        bootstrap_iters=0,
        **{key: value for key, value in options.items() if key in known},
    )


def rows(tasks: Path, name: str = TASK) -> list[Any]:
    return list(task_manager(tasks).load([name])["tasks"][name].eval_docs)


def searched_on(found: list[Any], llama: Path, numbers: tuple[int, ...] = SEARCHED, **changes: Any) -> Edit:
    """An edit whose manifest says that it was searched on these rows."""
    hashes = "".join(sorted(doc_hash(found[number])[:12] for number in numbers))
    search = dataclasses.replace(SEARCH, samples=len(numbers), row_hashes=hashes)
    edit = edit_of(tiny_model("llama"), ("U_in", 1, 4, 0.2), base_id=str(llama))
    return dataclasses.replace(edit, search=search, **changes)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks"
    path.mkdir()
    write_task(path, TASK)
    return path


@pytest.fixture
def edit(tasks: Path, llama: Path, tmp_path: Path) -> str:
    return str(searched_on(rows(tasks), llama).write(tmp_path / "edit.json"))


def logged(results: Any, name: str = TASK) -> list[tuple[Any, ...]]:
    found = results["samples"][name]
    return [(one["doc_id"], one["doc"], one["arguments"], one["resps"], one["acc"], one["doc_hash"]) for one in found]


LEFT = [number for number in range(10) if number not in SEARCHED]


def test_rows_that_were_searched_on_are_left_out(tasks: Path, edit: str) -> None:
    skipping = run(tasks, edit=edit, skip_calibration=True)
    plain = run(tasks, edit=edit, samples={TASK: LEFT})
    assert logged(skipping) == logged(plain)
    assert [one["doc_id"] for one in skipping["samples"][TASK]] == LEFT
    for key in ("acc,none", "sample_len"):
        assert skipping["results"][TASK][key] == plain["results"][TASK][key]
    assert skipping["n-samples"] == plain["n-samples"] == {TASK: {"original": 10, "effective": 7}}
    from cti_edits.artifact.manifest import load

    assert skipping["config"]["skipped_rows"] == {
        "edits": [{"name": "test", "digest": load(edit).digest()}],
        "left_out": {TASK: 3},
    }
    assert plain["config"]["skipped_rows"] is None


def test_few_shot_examples_are_not_left_out_and_drawn_alike(tasks: Path, edit: str) -> None:
    write_task(tasks, "shots", more=FEW_SHOTS)
    skipping = run(tasks, edit=edit, skip_calibration=True, names=["shots"])
    assert logged(skipping, "shots") == logged(run(tasks, edit=edit, names=["shots"], samples={"shots": LEFT}), "shots")
    prompts = [one["arguments"][0][0] for one in skipping["samples"]["shots"]]
    assert all(prompt.count("says") == 3 for prompt in prompts)


def test_the_base_model_leaves_out_the_same_rows(tasks: Path, edit: str, llama: Path) -> None:
    base = run(tasks, pretrained=str(llama), skip_calibration=edit)
    assert logged(base) == logged(run(tasks, pretrained=str(llama), samples={TASK: LEFT}))
    assert base["config"]["edit"] is None
    assert base["config"]["skipped_rows"]["left_out"] == {TASK: 3}


def test_runs_beside_it_see_all_rows(tasks: Path, edit: str, llama: Path) -> None:
    before = logged(run(tasks, pretrained=str(llama)))
    skipping = EditedLM(edit=edit, skip_calibration=True)
    others: list[Any] = [EditedLM(edit=edit), EditedLM(pretrained=str(llama))]
    assert len(logged(run(tasks, skipping))) == 7
    assert [len(logged(run(tasks, other))) for other in others] == [10, 10]
    assert len(logged(run(tasks, skipping))) == 7
    assert logged(run(tasks, pretrained=str(llama))) == before
    assert logged(run(tasks, "hf", pretrained=str(llama))) == before


def test_the_tasks_are_as_they_were_even_after_an_error(tasks: Path, edit: str, monkeypatch: Any) -> None:
    from lm_eval import evaluate

    loaded = task_manager(tasks).load([TASK])
    task = loaded["tasks"][TASK]
    lm = EditedLM(edit=edit, skip_calibration=True)
    task.set_config(key="num_fewshot", value=0)
    for fails in (True, False):
        if fails:
            task.process_results = lambda *_: 1 / 0
            with pytest.raises(ZeroDivisionError):
                evaluate(lm=lm, task_dict=loaded, bootstrap_iters=0)
            del task.process_results
        else:
            results = evaluate(lm=lm, task_dict=loaded, bootstrap_iters=0)
            assert len(results["samples"][TASK]) == 7
        assert len(list(task.doc_iterator())) == 10
        assert not {"doc_iterator", "build_all_requests"} & set(vars(task))
    # As lm-eval took them before: nested by group.
    nested = evaluate(lm=lm, task_dict={"some_group": {TASK: task}}, bootstrap_iters=0)
    assert len(nested["samples"][TASK]) == 7


def test_a_limit_counts_the_rows_that_are_left(tasks: Path, edit: str) -> None:
    assert [row[0] for row in logged(run(tasks, edit=edit, skip_calibration=True, limit=4))] == LEFT[:4]
    assert [row[0] for row in logged(run(tasks, edit=edit, skip_calibration=True, limit=0.5))] == LEFT[:5]


def test_chosen_rows_are_left_out_too(tasks: Path, edit: str) -> None:
    results = run(tasks, edit=edit, skip_calibration=True, samples={TASK: [0, 1, 2, 4]})
    assert [row[0] for row in logged(results)] == [0, 2]
    assert results["config"]["skipped_rows"]["left_out"] == {TASK: 2}


def test_the_order_of_the_rows_does_not_matter(tasks: Path, edit: str) -> None:
    path = tasks / f"{TASK}_rows.py"
    path.write_text(path.read_text().replace("for i, t in enumerate(TEXTS)]", "for i, t in enumerate(TEXTS)][::-1]"))
    found = logged(run(tasks, edit=edit, skip_calibration=True))
    assert [row[0] for row in found] == [9 - number for number in reversed(LEFT)]


def test_the_request_cache_is_not_mixed_up(tasks: Path, edit: str, tmp_path: Path, monkeypatch: Any) -> None:
    import lm_eval.caching.cache as cache

    monkeypatch.setattr(cache, "PATH", str(tmp_path / "requests"))
    for _ in range(2):
        for skip in (True, False):
            found = logged(run(tasks, edit=edit, skip_calibration=skip, cache_requests=True, limit=8))
            assert [row[0] for row in found] == (LEFT if skip else list(range(8)))


def test_answers_from_the_response_cache_are_left_out_alike(tasks: Path, edit: str, tmp_path: Path) -> None:
    uncached = logged(run(tasks, edit=edit, skip_calibration=True))
    for skip in (False, True):
        found = logged(run(tasks, edit=edit, skip_calibration=skip, use_cache=str(tmp_path / "answers")))
    assert found == uncached


def test_several_tasks_are_counted_apart(tasks: Path, edit: str) -> None:
    write_task(tasks, "other")
    (tasks / "both.yaml").write_text(
        f"group: both\ntask: [{TASK}, other]\naggregate_metric_list:\n  - metric: acc\n    weight_by_size: true\n"
    )
    path = tasks / "other_rows.py"
    path.write_text(path.read_text().replace('"the cat"', '"our cat"').replace('"a dog"', '"our dog"'))
    results = run(tasks, edit=edit, skip_calibration=True, names=["both"])
    assert results["config"]["skipped_rows"]["left_out"] == {TASK: 3, "other": 2}
    assert results["n-samples"]["other"]["effective"] == 8
    assert results["results"]["both"]["sample_len"] == 15


def test_several_edits_leave_out_the_rows_of_each(tasks: Path, llama: Path, tmp_path: Path) -> None:
    found = rows(tasks)
    second = edit_of(tiny_model("llama"), ("U_out", 2, 1, 0.1), base_id=str(llama), name="second")
    parts = [
        searched_on(found, llama),
        dataclasses.replace(searched_on(found, llama, (0, 1)), edits=second.edits, name="second"),
    ]
    both = "+".join(str(one.write(tmp_path / f"{one.name}.json")) for one in parts)
    for arguments in ({"edit": both, "skip_calibration": True}, {"pretrained": str(llama), "skip_calibration": both}):
        results = run(tasks, **arguments)
        assert [row[0] for row in logged(results)] == [2, 3, 6, 7, 8, 9]
        assert len(results["config"]["skipped_rows"]["edits"]) == 2


def test_a_manifest_that_does_not_say_its_rows_is_refused(llama: Path, tmp_path: Path) -> None:
    old = str(edit_of(tiny_model("llama"), ("U_in", 1, 4, 0.2), base_id=str(llama)).write(tmp_path / "old.json"))
    said = r"old\.json does not say on which rows it was searched: it was made before row hashes were recorded"
    for arguments in ({"edit": old, "skip_calibration": True}, {"pretrained": "x", "skip_calibration": old}):
        with pytest.raises(EditError, match=said):
            EditedLM(**arguments)
    with pytest.raises(EditError, match=r"true needs edit=FILE; for the base model, expected skip_calibration=FILE"):
        EditedLM(pretrained=str(llama), skip_calibration=True)
    composed = dataclasses.replace(
        edit_of(tiny_model("llama"), ("U_in", 1, 4, 0.2), base_id=str(llama)), metadata={"composed_from": [{}]}
    )
    with pytest.raises(EditError, match=r"it is a composition; name its parts, joined by \+"):
        EditedLM(edit=composed, skip_calibration=True)


def test_a_task_without_other_rows_is_refused(tasks: Path, llama: Path) -> None:
    edit = searched_on(rows(tasks), llama, tuple(range(10)))
    with pytest.raises(EditError, match=r"all 10 rows of small are among those that were searched on"):
        run(tasks, EditedLM(edit=edit, skip_calibration=True))


def test_a_way_around_the_filter_is_noticed(tasks: Path, edit: str) -> None:
    import lm_eval.evaluator

    # As a program has it that imported the function before the model was made.
    plain = getattr(lm_eval.evaluator.evaluate, "__wrapped__", lm_eval.evaluator.evaluate)
    lm = EditedLM(edit=edit, skip_calibration=True)
    loaded = task_manager(tasks).load([TASK])
    loaded["tasks"][TASK].set_config(key="num_fewshot", value=0)
    with pytest.raises(EditError, match=r"row 1 of small was to be left out, and this program asks about it"):
        plain(lm=lm, task_dict=loaded, bootstrap_iters=0)


def test_the_command_leaves_them_out_and_says_so(tasks: Path, edit: str, run_command: Run, tmp_path: Path) -> None:
    done = run_command(
        "lm_eval", "--model", "cti", "--tasks", TASK, "--include_path", str(tasks), "--device", "cpu",
        "--model_args", f"edit={edit},skip_calibration=true", "--output_path", "out", "--log_samples",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    document = json.loads(results.read_text())
    assert document["config"]["skipped_rows"]["left_out"] == {TASK: 3}
    assert document["n-samples"][TASK] == {"original": 10, "effective": 7}
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    assert [json.loads(line)["doc_id"] for line in samples.read_text().splitlines()] == LEFT
