from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from cti_edits.artifact.manifest import Edit
from cti_edits.harness.results_folder import results_name
from cti_edits.paths import folder
from tests.conftest import Run
from tests.support.edits import edit_of
from tests.support.tiny_models import tiny_model


def an_edit(base: str, rho: float = 0.2, name: str = "tiny") -> Edit:
    return edit_of(tiny_model("llama"), ("U_in", 1, 4, rho), base_id=base, name=name)


def folders(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def track(out: Path, model: str, model_args: Any) -> None:
    tracker = EvaluationTracker(output_path=str(out))
    found = simple_evaluate(
        model=model,
        model_args=model_args,
        tasks=["cti_capitals"],
        task_manager=TaskManager(include_path=str(folder("tasks")), include_defaults=False),
        limit=1,
        device="cpu",
        bootstrap_iters=0,
        evaluation_tracker=tracker,
    )
    tracker.save_results_aggregated(found, found["samples"])
    tracker.save_results_samples("cti_capitals", found["samples"]["cti_capitals"])


def test_results_lie_in_a_folder_of_the_base_and_the_edit(llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (an_edit(str(llama), rho) for rho in (0.2, 0.4))
    for number, edit in enumerate((first, second)):
        edit.write(tmp_path / f"{number}.json")
    for _ in range(2):
        track(out, "cti", {"edit": str(tmp_path / "0.json")})
    track(out, "cti", f"edit={tmp_path / '1.json'}")
    expected = [f"{llama.name}__tiny-{edit.digest()[:12]}" for edit in (first, second)]
    assert folders(out) == sorted(expected)
    assert len(list((out / expected[0]).glob("results_*.json"))) == 2
    assert len(list((out / expected[0]).glob("samples_*.jsonl"))) == 2


def test_a_base_that_is_named_stays_in_the_name(llama: Path, tmp_path: Path) -> None:
    edit = an_edit("someone/base")
    track(tmp_path, "cti", {"edit": edit, "pretrained": str(llama)})
    (only,) = folders(tmp_path)
    assert only == f"{str(llama).replace('/', '__')}__tiny-{edit.digest()[:12]}"


def test_base_runs_and_other_models_keep_lm_eval_s_names(llama: Path, tmp_path: Path) -> None:
    track(tmp_path / "edited", "cti", {"edit": an_edit(str(llama))})
    for model in ("cti", "hf"):
        track(tmp_path / model, model, {"pretrained": str(llama)})
        assert folders(tmp_path / model) == [str(llama).replace("/", "__")]


@pytest.mark.parametrize("words", [("lm_eval", "--model", "cti"), ("cti-edits", "eval")])
def test_the_commands_name_results_after_the_edit(
    words: tuple[str, ...], llama: Path, run_command: Run, tmp_path: Path
) -> None:
    edit = an_edit(str(llama))
    edit.write(tmp_path / "edit.json")
    ours = () if "cti-edits" in words else ("--include_path", str(folder("tasks")))
    done = run_command(
        *words, "--model_args", "edit=edit.json", "--tasks", "cti_capitals", "--limit", "1", "--device", "cpu",
        "--output_path", "out", "--log_samples", *ours,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert folders(tmp_path / "out") == [f"{llama.name}__tiny-{edit.digest()[:12]}"]
    (results,) = (tmp_path / "out").glob("*/results_*.json")
    config = json.loads(results.read_text())["config"]
    assert (config["edit"]["name"], config["asked"]["model"]["pretrained"]) == ("tiny", str(llama))


def test_a_name_is_stable_and_never_too_long() -> None:
    edit = an_edit("owner/base", name="n" * 100)
    ending = f"{'n' * 100}-{edit.digest()[:12]}"
    assert results_name({"edit": edit}) == f"owner/base/{ending}"
    assert results_name({"edit": edit, "pretrained": "a/b", "peft": "c/d"}) == f"c/d/{ending}"
    assert results_name({"edit": edit, "pretrained": tiny_model("llama")}) == f"LlamaForCausalLM/{ending}"
    assert results_name({"pretrained": "a/b"}) is None
    assert results_name("") is None
    long = [results_name({"edit": edit, "pretrained": f"/{'é' * 150}/{end}{'é' * 60}"}) for end in "ab"]
    assert long[0] != long[1]
    assert all(one is not None and len(one.replace("/", "__").encode()) < 255 for one in long)
